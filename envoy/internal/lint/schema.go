package lint

import (
	"errors"
	"fmt"

	"github.com/envoyproxy/go-control-plane/envoy/annotations"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/descriptorpb"
	"google.golang.org/protobuf/types/known/anypb"
)

// validator is what protoc-gen-validate gives every message of Envoy's API.
type validator interface{ ValidateAll() error }

// schema applies the constraints of Envoy's API and refuses deprecated parts, in the message and
// in every message packed inside it, where neither Envoy's validation code nor protojson looks.
func schema(m proto.Message) []error {
	var findings []error
	walk("bootstrap", m.ProtoReflect(), &findings)
	return findings
}

func walk(where string, m protoreflect.Message, findings *[]error) {
	validate(where, m.Interface(), findings)
	descend(where, m, findings)
}

func validate(where string, m proto.Message, findings *[]error) {
	v, ok := m.(validator)
	if !ok {
		return
	}
	err := v.ValidateAll()
	var all interface{ AllErrors() []error }
	if errors.As(err, &all) {
		for _, one := range all.AllErrors() {
			*findings = append(*findings, Finding{"schema", where, one.Error()})
		}
	} else if err != nil {
		*findings = append(*findings, Finding{"schema", where, err.Error()})
	}
}

func descend(where string, m protoreflect.Message, findings *[]error) {
	if packed, ok := m.Interface().(*anypb.Any); ok {
		inner, err := packed.UnmarshalNew()
		if err != nil {
			*findings = append(*findings, Finding{"schema", where, err.Error()})
			return
		}
		walk(where, inner.ProtoReflect(), findings)
		return
	}
	m.Range(func(field protoreflect.FieldDescriptor, value protoreflect.Value) bool {
		at := where + "." + string(field.Name())
		if options, ok := field.Options().(*descriptorpb.FieldOptions); ok && (options.GetDeprecated() || disallowed(options, annotations.E_DisallowedByDefault)) {
			*findings = append(*findings, Finding{"deprecated", at, "Envoy has deprecated this field of " + string(m.Descriptor().FullName())})
		}
		each := func(at string, v protoreflect.Value) {
			switch {
			case field.Enum() != nil && !field.IsMap():
				enumValue(at, field.Enum(), v.Enum(), findings)
			case field.Message() != nil && !field.IsMap():
				descend(at, v.Message(), findings)
			}
		}
		switch {
		case field.IsList():
			for i := range value.List().Len() {
				each(fmt.Sprintf("%s[%d]", at, i), value.List().Get(i))
			}
		case field.IsMap():
			if field.MapValue().Message() != nil {
				value.Map().Range(func(key protoreflect.MapKey, v protoreflect.Value) bool {
					descend(fmt.Sprintf("%s[%s]", at, key.String()), v.Message(), findings)
					return true
				})
			}
		default:
			each(at, value)
		}
		return true
	})
}

func enumValue(where string, enum protoreflect.EnumDescriptor, number protoreflect.EnumNumber, findings *[]error) {
	value := enum.Values().ByNumber(number)
	if value == nil {
		return // the schema's own constraints speak of undefined values
	}
	if options, ok := value.Options().(*descriptorpb.EnumValueOptions); ok && (options.GetDeprecated() || disallowed(options, annotations.E_DisallowedByDefaultEnum)) {
		*findings = append(*findings, Finding{"deprecated", where, "Envoy has deprecated the value " + string(value.Name())})
	}
}

func disallowed(options proto.Message, extension protoreflect.ExtensionType) bool {
	set, _ := proto.GetExtension(options, extension).(bool)
	return set
}
