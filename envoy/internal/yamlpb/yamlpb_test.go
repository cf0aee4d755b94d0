package yamlpb_test

import (
	"bytes"
	"strings"
	"testing"

	bootstrapv3 "github.com/envoyproxy/go-control-plane/envoy/config/bootstrap/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	"google.golang.org/protobuf/proto"

	"github.com/neonpanel/mcp-gateway/envoy/internal/yamlpb"
)

// Words that YAML would read as something else must come back as the strings they were.
func TestRoundTrip(t *testing.T) {
	t.Parallel()
	for _, word := range []string{"plain", "true", "off", "0600", "1e3", "12:30", "~", "- x", "a: b", "#", "%X%", "'\"", " lead", "multi\nline", "", "ünï", "{x}", "*", "&a", "null", "2026-01-01"} {
		in := &bootstrapv3.Bootstrap{Node: &corev3.Node{Id: word, Cluster: "c"}}
		text, err := yamlpb.Marshal(in)
		if err != nil {
			t.Fatal(err)
		}
		out := &bootstrapv3.Bootstrap{}
		if err := yamlpb.Unmarshal(text, out); err != nil || !proto.Equal(in, out) {
			t.Errorf("%q became %v (%v) through:\n%s", word, out, err, text)
		}
		again, err := yamlpb.Marshal(in)
		if err != nil || !bytes.Equal(text, again) {
			t.Errorf("%q: not deterministic (%v)", word, err)
		}
	}
}

func TestStrict(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ text, want string }{
		"unknown field": {"node: {idd: x}", "idd"},
		"unknown type":  {"bootstrap_extensions: [{name: x, typed_config: {'@type': type.googleapis.com/no.such.Message}}]", "no.such.Message"},
		"repeated key":  {"node: {id: a}\nnode: {id: b}", "already defined"},
		"two documents": {"node: {id: a}\n---\nnode: {id: b}", "more than one"},
		"empty":         {"", "empty"},
		"not a mapping": {"- x", "syntax"},
		"wrong kind":    {"node: [1]", "unexpected token ["},
		"bad duration":  {"stats_flush_interval: 10ms", "Duration"},
		"odd keys":      {"{1: 2}", "JSON"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if err := yamlpb.Unmarshal([]byte(c.text), &bootstrapv3.Bootstrap{}); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want it to speak of %q", err, c.want)
			}
		})
	}
}

func FuzzUnmarshal(f *testing.F) {
	f.Add([]byte("node: {id: a}"))
	f.Add([]byte("static_resources: {clusters: [{name: x}]}"))
	f.Fuzz(func(t *testing.T, text []byte) {
		in := &bootstrapv3.Bootstrap{}
		if yamlpb.Unmarshal(text, in) != nil {
			return
		}
		again, err := yamlpb.Marshal(in)
		if err != nil {
			t.Fatal(err)
		}
		out := &bootstrapv3.Bootstrap{}
		if err := yamlpb.Unmarshal(again, out); err != nil || !proto.Equal(in, out) {
			t.Errorf("%q became %q: %v", text, again, err)
		}
	})
}
