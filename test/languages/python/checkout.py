"""A whole checkout without the SDK: the newest waybill goes along in the metadata.

Usage: checkout.py TARGET IMAGE
Prints the order's name.
"""

import sys

import grpc
from google.protobuf import descriptor_pb2, descriptor_pool, json_format, message_factory

target, image = sys.argv[1:]

pool = descriptor_pool.DescriptorPool()
files = descriptor_pb2.FileDescriptorSet.FromString(open(image, "rb").read())
for file in files.file:
    pool.Add(file)
service = pool.FindServiceByName("waybill.checkout.v1.CheckoutService")

waybill = None
with grpc.insecure_channel(target) as channel:

    def call(method_name, **request):
        """Calls a method with the waybill at hand and keeps the next one."""
        global waybill
        method = service.methods_by_name[method_name]
        request_class = message_factory.GetMessageClass(method.input_type)
        response_class = message_factory.GetMessageClass(method.output_type)
        stub = channel.unary_unary(
            f"/{service.full_name}/{method_name}",
            request_serializer=request_class.SerializeToString,
            response_deserializer=response_class.FromString,
        )
        metadata = [("waybill", waybill)] if waybill else []
        response, answered = stub.with_call(
            json_format.ParseDict(request, request_class()), metadata=metadata, timeout=10
        )
        waybill = dict(answered.initial_metadata()).get("waybill", waybill)
        return response

    call("BeginCheckout")
    call("AddItem", product="products/11", quantity=2)
    call("AddItem", product="products/12")
    call("RemoveItem", product="products/12")
    call(
        "SetAddress",
        address={"regionCode": "DE", "locality": "Berlin", "addressLines": ["Unter den Linden 1"]},
    )
    call("ChooseDelivery", deliverySpeed="DELIVERY_SPEED_STANDARD")
    call("QuoteCheckout")
    order = call("PlaceOrder")
    assert call("GetOrder", name=order.name) == order
    print(order.name)
