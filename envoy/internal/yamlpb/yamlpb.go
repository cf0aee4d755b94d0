// Package yamlpb writes protobuf messages as YAML that reads well, and reads them back strictly.
package yamlpb

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"go.yaml.in/yaml/v3"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
)

// Marshal keeps the order of the message's fields and is deterministic.
func Marshal(m proto.Message) ([]byte, error) {
	text, err := protojson.MarshalOptions{UseProtoNames: true}.Marshal(m)
	if err != nil {
		return nil, err
	}
	// JSON is YAML in flow style: parsed as YAML it keeps its order, and only the style has to go.
	var document yaml.Node
	if err := yaml.Unmarshal(text, &document); err != nil {
		return nil, err
	}
	toBlockStyle(&document)
	var out bytes.Buffer
	encoder := yaml.NewEncoder(&out)
	encoder.SetIndent(2)
	if err := encoder.Encode(&document); err != nil {
		return nil, err
	}
	return out.Bytes(), encoder.Close()
}

func toBlockStyle(n *yaml.Node) {
	n.Style = 0
	for _, child := range n.Content {
		toBlockStyle(child)
	}
}

// Unmarshal refuses unknown fields, unknown types, repeated keys and more than one document.
func Unmarshal(text []byte, m proto.Message) error {
	decoder := yaml.NewDecoder(bytes.NewReader(text))
	var tree any
	switch err := decoder.Decode(&tree); {
	case errors.Is(err, io.EOF):
		return errors.New("the file is empty")
	case err != nil:
		return err
	}
	if err := decoder.Decode(new(any)); !errors.Is(err, io.EOF) {
		return errors.New("the file holds more than one YAML document")
	}
	asJSON, err := json.Marshal(tree)
	if err != nil {
		return fmt.Errorf("not a YAML form of JSON: %w", err)
	}
	return protojson.UnmarshalOptions{DiscardUnknown: false}.Unmarshal(asJSON, m)
}
