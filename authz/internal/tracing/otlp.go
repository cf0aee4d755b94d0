package tracing

import (
	"bytes"
	"context"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strconv"
	"sync/atomic"
	"time"

	"go.opentelemetry.io/otel/attribute"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
)

// exporter sends spans as OTLP/HTTP with JSON bodies (OTLP specification 1.9,
// "JSON Protobuf Encoding"). Spans that cannot be sent are lost: nothing waits
// for a collector.
type exporter struct {
	url    string
	client *http.Client
	log    *slog.Logger
	failed atomic.Bool // the last time
}

// ExportSpans implements the interface of the SDK. Its errors go to the log, the
// first of a row alone.
func (e *exporter) ExportSpans(ctx context.Context, spans []sdktrace.ReadOnlySpan) error {
	err := e.send(ctx, spans)
	switch {
	case err != nil && !e.failed.Swap(true):
		e.log.Warn("traces cannot be sent; this is said once", "error", err.Error())
	case err == nil && e.failed.Swap(false):
		e.log.Info("traces are sent again")
	}
	return nil
}

// Shutdown implements the interface of the SDK.
func (e *exporter) Shutdown(context.Context) error {
	e.client.CloseIdleConnections()
	return nil
}

func (e *exporter) send(ctx context.Context, spans []sdktrace.ReadOnlySpan) error {
	if len(spans) == 0 {
		return nil
	}
	body, err := json.Marshal(encode(spans))
	if err != nil {
		return err
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, e.url, bytes.NewReader(body))
	if err != nil {
		return err
	}
	request.Header.Set("Content-Type", "application/json")
	response, err := e.client.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	// A short rest is read so that the connection can be used again.
	_, _ = io.CopyN(io.Discard, response.Body, 64<<10)
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("the collector answered with status %d", response.StatusCode)
	}
	return nil
}

// The messages of opentelemetry/proto/collector/trace/v1, in JSON: fields in
// lowerCamelCase, ids in hexadecimal, 64-bit numbers as strings, enumerations as
// numbers.
type (
	exportRequest struct {
		ResourceSpans []resourceSpans `json:"resourceSpans"`
	}
	resourceSpans struct {
		Resource   resourceJSON `json:"resource"`
		ScopeSpans []scopeSpans `json:"scopeSpans"`
	}
	resourceJSON struct {
		Attributes []keyValue `json:"attributes"`
	}
	scopeSpans struct {
		Scope scopeJSON  `json:"scope"`
		Spans []spanJSON `json:"spans"`
	}
	scopeJSON struct {
		Name string `json:"name"`
	}
	spanJSON struct {
		TraceID      string     `json:"traceId"`
		SpanID       string     `json:"spanId"`
		TraceState   string     `json:"traceState,omitempty"`
		ParentSpanID string     `json:"parentSpanId,omitempty"`
		Flags        uint32     `json:"flags,omitempty"`
		Name         string     `json:"name"`
		Kind         int        `json:"kind"`
		Start        string     `json:"startTimeUnixNano"`
		End          string     `json:"endTimeUnixNano"`
		Attributes   []keyValue `json:"attributes,omitempty"`
		Links        []linkJSON `json:"links,omitempty"`
		Status       statusJSON `json:"status"`
	}
	linkJSON struct {
		TraceID string `json:"traceId"`
		SpanID  string `json:"spanId"`
	}
	statusJSON struct {
		Message string `json:"message,omitempty"`
		Code    int    `json:"code,omitempty"`
	}
	keyValue struct {
		Key   string    `json:"key"`
		Value valueJSON `json:"value"`
	}
	valueJSON struct {
		String *string `json:"stringValue,omitempty"`
		Bool   *bool   `json:"boolValue,omitempty"`
		Int    string  `json:"intValue,omitempty"`
	}
)

// encode takes spans of one resource and one scope, as they are here.
func encode(spans []sdktrace.ReadOnlySpan) exportRequest {
	list := make([]spanJSON, 0, len(spans))
	for _, s := range spans {
		list = append(list, encodeSpan(s))
	}
	return exportRequest{[]resourceSpans{{
		Resource:   resourceJSON{keyValues(spans[0].Resource().Attributes())},
		ScopeSpans: []scopeSpans{{Scope: scopeJSON{spans[0].InstrumentationScope().Name}, Spans: list}},
	}}}
}

func encodeSpan(s sdktrace.ReadOnlySpan) spanJSON {
	id, parent := s.SpanContext(), s.Parent()
	out := spanJSON{
		TraceID: hexOf(id.TraceID()), SpanID: idOf(id.SpanID()), TraceState: id.TraceState().String(), Flags: uint32(id.TraceFlags()),
		Name: s.Name(), Start: nanos(s.StartTime()), End: nanos(s.EndTime()), Attributes: keyValues(s.Attributes()),
		// SpanKind has the same numbers there and here, and so has Status but for
		// the order of its last two.
		Kind:   int(s.SpanKind()),
		Status: statusJSON{Message: s.Status().Description},
	}
	if parent.HasSpanID() {
		out.ParentSpanID = idOf(parent.SpanID())
	}
	for _, l := range s.Links() {
		out.Links = append(out.Links, linkJSON{hexOf(l.SpanContext.TraceID()), idOf(l.SpanContext.SpanID())})
	}
	switch s.Status().Code.String() {
	case "Ok":
		out.Status.Code = 1
	case "Error":
		out.Status.Code = 2
	}
	return out
}

func keyValues(attributes []attribute.KeyValue) []keyValue {
	list := make([]keyValue, 0, len(attributes))
	for _, a := range attributes {
		kv := keyValue{Key: string(a.Key)}
		switch a.Value.Type() {
		case attribute.INT64:
			kv.Value.Int = strconv.FormatInt(a.Value.AsInt64(), 10)
		case attribute.BOOL:
			b := a.Value.AsBool()
			kv.Value.Bool = &b
		default:
			text := a.Value.String()
			kv.Value.String = &text
		}
		list = append(list, kv)
	}
	return list
}

func hexOf(id trace.TraceID) string { return hex.EncodeToString(id[:]) }

func idOf(id trace.SpanID) string { return hex.EncodeToString(id[:]) }

func nanos(t time.Time) string { return strconv.FormatInt(t.UnixNano(), 10) }
