// Command checkout goes through a whole checkout without the SDK: the newest waybill goes along in
// the metadata.
//
// Usage: checkout TARGET IMAGE
// Prints the order's name.
package main

import (
	"context"
	"fmt"
	"log"
	"os"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/descriptorpb"
	"google.golang.org/protobuf/types/dynamicpb"
)

const serviceName = "waybill.checkout.v1.CheckoutService"

type client struct {
	conn    *grpc.ClientConn
	service protoreflect.ServiceDescriptor
	waybill string
}

// call calls a method with the newest waybill and stores the next one.
func (c *client) call(name protoreflect.Name, request string) protoreflect.Message {
	method := c.service.Methods().ByName(name)
	in, out := dynamicpb.NewMessage(method.Input()), dynamicpb.NewMessage(method.Output())
	check(protojson.Unmarshal([]byte(request), in))
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if c.waybill != "" {
		ctx = metadata.AppendToOutgoingContext(ctx, "waybill", c.waybill)
	}
	var reply metadata.MD
	check(c.conn.Invoke(ctx, fmt.Sprintf("/%s/%s", serviceName, name), in, out, grpc.Header(&reply)))
	if next := reply.Get("waybill"); len(next) == 1 {
		c.waybill = next[0]
	}
	return out
}

func main() {
	image, err := os.ReadFile(os.Args[2])
	check(err)
	var set descriptorpb.FileDescriptorSet
	check(proto.Unmarshal(image, &set))
	files, err := protodesc.NewFiles(&set)
	check(err)
	service, err := files.FindDescriptorByName(serviceName)
	check(err)
	conn, err := grpc.NewClient(os.Args[1], grpc.WithTransportCredentials(insecure.NewCredentials()))
	check(err)
	defer conn.Close()

	c := &client{conn: conn, service: service.(protoreflect.ServiceDescriptor)}
	c.call("BeginCheckout", `{}`)
	c.call("AddItem", `{"product": "products/21", "quantity": 2}`)
	c.call("AddItem", `{"product": "products/22"}`)
	c.call("RemoveItem", `{"product": "products/22"}`)
	c.call("SetAddress", `{"address": {"regionCode": "JP", "locality": "Tokyo", "addressLines": ["1-1 Chiyoda"]}}`)
	c.call("ChooseDelivery", `{"deliverySpeed": "DELIVERY_SPEED_EXPRESS"}`)
	c.call("QuoteCheckout", `{}`)
	order := c.call("PlaceOrder", `{}`)
	fmt.Println(order.Get(order.Descriptor().Fields().ByName("name")).String())
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}
