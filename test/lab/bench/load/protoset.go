package main

import (
	"fmt"
	"os"
	"strings"

	"github.com/golang/protobuf/proto"
	"github.com/golang/protobuf/protoc-gen-go/descriptor"
	"github.com/jhump/protoreflect/desc"
)

// methodOf finds the job's method, `package.Service/Method`, in its descriptor set.
func methodOf(j job) (*desc.MethodDescriptor, error) {
	bytes, err := os.ReadFile(j.Protoset)
	if err != nil {
		return nil, err
	}
	var set descriptor.FileDescriptorSet
	if err := proto.Unmarshal(bytes, &set); err != nil {
		return nil, err
	}
	files, err := desc.CreateFileDescriptorsFromSet(&set)
	if err != nil {
		return nil, err
	}
	name, method, _ := strings.Cut(j.Method, "/")
	for _, file := range files {
		if service := file.FindService(name); service != nil {
			if found := service.FindMethodByName(method); found != nil {
				return found, nil
			}
		}
	}
	return nil, fmt.Errorf("%s is not in %s", j.Method, j.Protoset)
}
