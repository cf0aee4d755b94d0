package check

import (
	"context"
	"fmt"

	"google.golang.org/grpc"
	"google.golang.org/grpc/encoding"
	"google.golang.org/grpc/encoding/proto"
	"google.golang.org/grpc/mem"
)

// ServiceName is what Envoy calls, and what it may ask the health of.
const ServiceName = "envoy.service.auth.v3.Authorization"

// Register adds the service to a server, which needs Codec as its codec.
func (s *Service) Register(to grpc.ServiceRegistrar) {
	to.RegisterService(&grpc.ServiceDesc{
		ServiceName: ServiceName,
		HandlerType: (*any)(nil),
		Methods: []grpc.MethodDesc{{
			MethodName: "Check",
			Handler: func(_ any, ctx context.Context, decode func(any) error, _ grpc.UnaryServerInterceptor) (any, error) {
				var in question
				if err := decode(&in); err != nil {
					return nil, err
				}
				// An answer for every question: an error at the gRPC level would leave
				// the answer to Envoy.
				return &answer{s.Answer(ctx, in.Request)}, nil
			},
		}},
		Metadata: "envoy/service/auth/v3/external_auth.proto",
	}, s)
}

// Codec is grpc-go's own for protobuf, except for the two messages of Check.
func Codec() encoding.CodecV2 { return codec{encoding.GetCodecV2(proto.Name)} }

type codec struct{ encoding.CodecV2 }

func (c codec) Unmarshal(data mem.BufferSlice, v any) error {
	q, ours := v.(*question)
	if !ours {
		return c.CodecV2.Unmarshal(data, v)
	}
	whole := data.MaterializeToBuffer(mem.DefaultBufferPool())
	defer whole.Free()
	if err := q.unmarshal(whole.ReadOnlyData()); err != nil {
		return fmt.Errorf("read a question: %w", err)
	}
	return nil
}

func (c codec) Marshal(v any) (mem.BufferSlice, error) {
	a, ours := v.(*answer)
	if !ours {
		return c.CodecV2.Marshal(v)
	}
	size := a.size()
	if mem.IsBelowBufferPoolingThreshold(size) {
		return mem.BufferSlice{mem.SliceBuffer(a.marshal(make([]byte, 0, size)))}, nil
	}
	pool := mem.DefaultBufferPool()
	buffer := pool.Get(size)
	*buffer = a.marshal((*buffer)[:0])
	return mem.BufferSlice{mem.NewBuffer(buffer, pool)}, nil
}
