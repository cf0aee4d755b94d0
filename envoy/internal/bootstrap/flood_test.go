package bootstrap_test

import (
	"bytes"
	"errors"
	"io"
	"net"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// A flood is frames of HTTP/2 without end, each cheap to send and dear to take.
func floods() map[string]func(f *http2.Framer, stream uint32, block []byte) error {
	return map[string]func(f *http2.Framer, stream uint32, block []byte) error{
		"streams that are reset at once": func(f *http2.Framer, stream uint32, block []byte) error {
			return errors.Join(
				f.WriteHeaders(http2.HeadersFrameParam{StreamID: stream, BlockFragment: block, EndHeaders: true, EndStream: true}),
				f.WriteRSTStream(stream, http2.ErrCodeCancel))
		},
		"headers that go on": func(f *http2.Framer, stream uint32, block []byte) error {
			if stream == 1 {
				return f.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: block})
			}
			return f.WriteContinuation(1, false, bytes.Repeat([]byte("\x00\x01x\x01y"), 100))
		},
		"headers without content": func(f *http2.Framer, stream uint32, block []byte) error {
			if stream == 1 {
				return f.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: block})
			}
			return f.WriteContinuation(1, false, nil)
		},
		"data without content": func(f *http2.Framer, stream uint32, block []byte) error {
			if stream == 1 {
				return f.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: block, EndHeaders: true})
			}
			return f.WriteData(1, false, nil)
		},
		"pings":    func(f *http2.Framer, _ uint32, _ []byte) error { return f.WritePing(false, [8]byte{}) },
		"settings": func(f *http2.Framer, _ uint32, _ []byte) error { return f.WriteSettings() },
		"priorities": func(f *http2.Framer, stream uint32, _ []byte) error {
			return f.WritePriority(stream, http2.PriorityParam{StreamDep: stream + 2})
		},
	}
}

func TestFloodsOfFramesEndTheConnection(t *testing.T) {
	t.Parallel()
	e := startEdge(t)
	var block bytes.Buffer
	encoder := hpack.NewEncoder(&block)
	for _, f := range request2("POST", "/mcp", field{"authorization", "Bearer bad"}) {
		encoder.WriteField(hpack.HeaderField{Name: f.name, Value: f.value})
	}
	for name, write := range floods() {
		t.Run(name, func(t *testing.T) {
			conn, err := net.Dial("tcp", e.addr)
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			conn.SetDeadline(time.Now().Add(time.Minute))
			// Nobody reads the answers to a flood: they have to pile up somewhere.
			var out bytes.Buffer
			out.WriteString(http2.ClientPreface)
			framer := http2.NewFramer(&out, nil)
			framer.AllowIllegalWrites = true
			framer.WriteSettings()
			for n := uint32(0); n < 1_000_000; n++ {
				// Each stream is asked for with all its fields: this encoder has no memory of the others.
				if err := write(framer, 2*n+1, block.Bytes()); err != nil {
					t.Fatal(err)
				}
				if out.Len() < 16<<10 {
					continue
				}
				_, err := conn.Write(out.Bytes())
				var slow net.Error
				if errors.As(err, &slow) && slow.Timeout() {
					t.Fatalf("after %d frames it neither ends nor goes on", n)
				}
				if err != nil {
					return // the other side has had enough
				}
				out.Reset()
			}
			t.Error("a million frames were taken")
		})
	}
	if a := e.do(t, call{method: "POST", target: "/mcp", header: []string{good}}); a.StatusCode != 200 {
		t.Errorf("after it all: %d %s", a.StatusCode, a.body)
	}
	for _, r := range e.backend.arrived() {
		if r.Header.Get("Authorization") != "Bearer good" {
			t.Errorf("%s %s reached the backend", r.Method, r.RequestURI)
		}
	}
}

// The limits on what trickles hold for HTTP/2 too.
func TestStreamsThatTrickleAreEnded(t *testing.T) {
	t.Parallel()
	e := startEdge(t, func(o *options) {
		o.weaken = func(document map[string]any) { hcm(document)["request_timeout"] = "1s" }
	})
	conn, err := net.Dial("tcp", e.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(time.Minute))
	var block bytes.Buffer
	encoder := hpack.NewEncoder(&block)
	for _, f := range request2("POST", "/mcp", field{"authorization", "Bearer good"}, field{"content-length", "100"}) {
		encoder.WriteField(hpack.HeaderField{Name: f.name, Value: f.value})
	}
	io.WriteString(conn, http2.ClientPreface)
	framer := http2.NewFramer(conn, conn)
	framer.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	framer.WriteSettings()
	framer.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: block.Bytes(), EndHeaders: true})
	framer.WriteData(1, false, []byte("{"))
	for {
		frame, err := framer.ReadFrame()
		if err != nil {
			t.Fatal(err)
		}
		if headers, ok := frame.(*http2.MetaHeadersFrame); ok {
			if got := headers.PseudoValue("status"); got != "408" {
				t.Errorf("status %s", got)
			}
			return
		}
	}
}
