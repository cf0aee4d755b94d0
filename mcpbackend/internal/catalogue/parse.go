package catalogue

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"regexp"
	"slices"
	"strings"

	"github.com/pb33f/libopenapi"
	"github.com/pb33f/libopenapi/datamodel"
	"github.com/pb33f/libopenapi/datamodel/high/base"
	v3 "github.com/pb33f/libopenapi/datamodel/high/v3"
	apply "github.com/pb33f/libopenapi/overlay"
	"go.yaml.in/yaml/v4"
)

// maxDepth ends the inlining of schemas that contain themselves: below it
// anything is accepted, and the API judges. maxSchemas bounds what one argument
// may grow to.
const (
	maxDepth   = 8
	maxSchemas = 500
)

var toolName = regexp.MustCompile(`^[a-z][a-z0-9_]{0,49}$`)

// source is what the two documents hold.
type source struct {
	title, version string
	tools          []Tool
	warnings       []string
	// common are hints for arguments of any operation, ignored the arguments that
	// mean nothing under an alias.
	common  map[string]argumentHint
	ignored map[string][]string
}

func parse(top *yaml.Node, overlay []byte) (_ *source, err error) {
	defer rescue(&err)
	description, err := libopenapi.NewOverlayDocument(overlay)
	if err != nil {
		return nil, fmt.Errorf("the overlay cannot be read: %w", err)
	}
	document, err := yaml.Marshal(requestsOnly(top))
	if err != nil {
		return nil, err
	}
	applied, err := apply.Apply(document, description)
	if err != nil {
		return nil, fmt.Errorf("the overlay cannot be applied to the OpenAPI document: %w", err)
	}
	parsed, err := libopenapi.NewDocumentWithConfiguration(applied.Bytes, &datamodel.DocumentConfiguration{
		// References that leave the document are not followed.
		AllowFileReferences:    false,
		AllowRemoteReferences:  false,
		SkipJSONConversion:     true,
		SkipMetadataCollection: true,
		Logger:                 slog.New(slog.DiscardHandler),
	})
	if err != nil {
		return nil, fmt.Errorf("the OpenAPI document cannot be read: %w", err)
	}
	model, err := parsed.BuildV3Model()
	if err != nil {
		return nil, fmt.Errorf("the OpenAPI document is not valid: %w", err)
	}
	shared, err := common(overlay)
	if err != nil {
		return nil, err
	}
	s := &source{common: shared, ignored: map[string][]string{}}
	for _, warning := range applied.Warnings {
		s.warnings = append(s.warnings, fmt.Sprintf("the overlay finds no %s in the document: no tool for it", warning.Target))
	}
	if err := s.read(&model.Model); err != nil {
		return nil, err
	}
	return s, nil
}

func (s *source) read(document *v3.Document) error {
	if document.Info != nil {
		s.title, s.version = document.Info.Title, document.Info.Version
	}
	if document.Paths == nil || document.Paths.PathItems == nil {
		return errors.New("the OpenAPI document has no paths")
	}
	names := map[string]string{}
	next := map[string]*nextHint{}
	for path, item := range document.Paths.PathItems.FromOldest() {
		for method, operation := range item.GetOperations().FromOldest() {
			method = strings.ToUpper(method)
			tool, h, err := makeTool(path, method, item, operation, s.common)
			if err != nil {
				s.warnings = append(s.warnings, fmt.Sprintf("no tool for %s %s: %v", method, path, err))
				continue
			}
			if h.Hidden {
				continue
			}
			if _, taken := names[tool.Operation.ID]; taken {
				return fmt.Errorf("the operationId %q appears twice", tool.Operation.ID)
			}
			names[tool.Operation.ID] = tool.Name
			if h.Next != nil {
				next[tool.Operation.ID] = h.Next
			}
			maps.Copy(s.ignored, h.Ignored)
			s.tools = append(s.tools, tool)
		}
	}
	if len(s.tools) == 0 {
		return fmt.Errorf("the OpenAPI document has no operation that can be a tool: %s", strings.Join(s.warnings, "; "))
	}
	for i := range s.tools {
		operation := &s.tools[i].Operation
		s.tools[i].InputSchema = inputSchema(operation.Parameters, names)
		h, ok := next[operation.ID]
		if !ok {
			continue
		}
		if names[h.Operation] == "" {
			s.warnings = append(s.warnings, fmt.Sprintf("%s goes on with %s, which is not in the document", operation.ID, h.Operation))
			continue
		}
		operation.Next = &Next{Tool: names[h.Operation], Wait: h.Wait, Keep: h.Keep, Take: h.Take}
	}
	return nil
}

func makeTool(path, method string, item *v3.PathItem, operation *v3.Operation, common map[string]argumentHint) (Tool, *hint, error) {
	h := &hint{}
	if node := operation.Extensions.GetOrZero(extension); node != nil {
		if err := node.Decode(h); err != nil {
			return Tool{}, nil, fmt.Errorf("%s: %w", extension, err)
		}
	}
	if h.Hidden {
		return Tool{}, h, nil
	}
	if err := h.check(); err != nil {
		return Tool{}, nil, err
	}
	h.inherit(common)
	if operation.OperationId == "" {
		return Tool{}, nil, errors.New("it has no operationId")
	}
	t := Tool{
		Name:        h.Name,
		Title:       firstOf(h.Title, operation.Summary, operation.OperationId),
		Description: firstOf(h.Description, operation.Description, operation.Summary, operation.OperationId),
		Toolset:     firstOf(h.Toolset, OtherTools),
		Scopes:      h.Scopes,
		Aliases:     h.Aliases,
	}
	if t.Name == "" {
		t.Name = snake(operation.OperationId)
	}
	if !toolName.MatchString(t.Name) {
		return Tool{}, nil, fmt.Errorf("%q is no tool name: it must match %s", t.Name, toolName)
	}
	if h.Scopes == nil {
		t.Scopes = scopesOf(operation)
	}
	slices.Sort(t.Scopes)
	t.Scopes = slices.Compact(t.Scopes)
	h.annotate(&t, method)

	parameters, err := parametersOf(path, method, item, operation, h)
	if err != nil {
		return Tool{}, nil, err
	}
	if !t.ReadOnly {
		for _, p := range gatewayArguments() {
			if slices.ContainsFunc(parameters, func(own Parameter) bool { return own.Argument == p.Argument }) {
				return Tool{}, nil, fmt.Errorf("it has an argument %q of its own; give it another name in the overlay", p.Argument)
			}
			parameters = append(parameters, p)
		}
	}
	t.Operation = Operation{ID: operation.OperationId, Method: method, Path: path, Parameters: parameters}
	if u := h.Upload; u != nil {
		t.Operation.Upload = &Upload{
			MediaType: u.MediaType, Magic: u.Magic, MaxBytes: u.MaxBytes, Query: u.Query, Object: u.Object,
			NameArgument: u.Name.Argument, LinkArgument: u.Link.Argument, ContentArgument: u.Content.Argument,
		}
	}
	return t, h, nil
}

// inputSchema offers every argument that is not hidden. Where the document
// speaks of operations, a model reads the names of tools.
func inputSchema(parameters []Parameter, names map[string]string) json.RawMessage {
	input := &Schema{Type: "object", Closed: true}
	for _, p := range parameters {
		if p.Hidden {
			continue
		}
		p.Schema.nameTools(names)
		input.Properties = append(input.Properties, Property{Name: p.Argument, Required: p.Required, Schema: p.Schema})
	}
	return input.append(nil)
}

// nameTools puts names of tools for operationIds, in every description.
func (s *Schema) nameTools(names map[string]string) {
	s.Description = operationIDs.ReplaceAllStringFunc(s.Description, func(word string) string {
		return firstOf(names[word], word)
	})
	if s.Items != nil {
		s.Items.nameTools(names)
	}
	for _, p := range s.Properties {
		p.Schema.nameTools(names)
	}
	for _, alternative := range s.AnyOf {
		alternative.nameTools(names)
	}
}

var operationIDs = regexp.MustCompile(`[A-Za-z]+(\.[a-z]+)?`)

// scopesOf reads the scopes of an operation's own security requirements. openid
// asks who the user is and gives no right to data.
func scopesOf(operation *v3.Operation) []string {
	for _, requirement := range operation.Security {
		if requirement.Requirements == nil {
			continue
		}
		for _, scopes := range requirement.Requirements.FromOldest() {
			scopes = slices.DeleteFunc(slices.Clone(scopes), func(s string) bool { return s == "openid" })
			if len(scopes) > 0 {
				return scopes
			}
		}
	}
	return nil
}

func parametersOf(path, method string, item *v3.PathItem, operation *v3.Operation, h *hint) ([]Parameter, error) {
	segments, err := template(path)
	if err != nil {
		return nil, err
	}
	declared := map[string]*v3.Parameter{}
	var order []string
	// An operation's parameter replaces that of its path (OpenAPI 3.1 §4.8.10).
	for _, p := range slices.Concat(item.Parameters, operation.Parameters) {
		if p == nil {
			return nil, errors.New("a parameter refers to nothing")
		}
		key := p.In + " " + p.Name
		if _, ok := declared[key]; !ok {
			order = append(order, key)
		}
		declared[key] = p
	}

	var parameters []Parameter
	taken := map[string]bool{}
	add := func(p Parameter) error {
		if err := h.apply(&p); err != nil {
			return err
		}
		if p.Hidden && p.Schema.Default == nil {
			if p.Required {
				return fmt.Errorf("the required parameter %q is hidden without a default", p.Name)
			}
			return nil
		}
		if taken[p.Argument] {
			p.Argument = string(p.In) + "_" + p.Argument
		}
		if taken[p.Argument] {
			return fmt.Errorf("two parameters are named %q", p.Argument)
		}
		taken[p.Argument] = true
		parameters = append(parameters, p)
		return nil
	}

	inPath := 0
	for _, key := range order {
		p := declared[key]
		if h.Upload != nil && p.In == "query" && p.Name == h.Upload.Query {
			continue
		}
		required := p.Required != nil && *p.Required
		var location Location
		switch p.In {
		case "path":
			if !slices.Contains(segments, "{"+p.Name+"}") {
				continue
			}
			inPath++
			location, required = InPath, true
		case "query":
			location = InQuery
		default:
			// Headers and cookies are ours to set, not a model's.
			if required {
				return nil, fmt.Errorf("it requires the %s parameter %q", p.In, p.Name)
			}
			continue
		}
		schema, err := inline(p.Schema)
		if err != nil {
			return nil, fmt.Errorf("parameter %q: %w", p.Name, err)
		}
		if p.Description != "" {
			schema.Description = p.Description
		}
		if err := add(Parameter{
			// PHP's brackets are not part of the name (see package neonpanel).
			Argument: strings.TrimSuffix(p.Name, "[]"), Name: p.Name,
			In: location, Required: required, Schema: schema,
		}); err != nil {
			return nil, err
		}
	}
	wanted := 0
	for _, segment := range segments {
		if strings.HasPrefix(segment, "{") {
			wanted++
		}
	}
	if inPath != wanted {
		return nil, fmt.Errorf("the path has %d parameters, of which %d are described", wanted, inPath)
	}

	if u := h.Upload; u != nil {
		limit := int64(u.MaxBytes+2) / 3 * 4
		one, longest := int64(1), int64(2048)
		nameLimit := int64(200)
		for _, field := range []Parameter{
			{Argument: u.Name.Argument, Required: true, Schema: &Schema{Type: "string", Description: u.Name.Description, MinLength: &one, MaxLength: &nameLimit}},
			{Argument: u.Link.Argument, Schema: &Schema{Type: "string", Description: u.Link.Description, Format: "uri", MaxLength: &longest}},
			{Argument: u.Content.Argument, Schema: &Schema{Type: "string", Description: u.Content.Description, MaxLength: &limit}},
		} {
			field.Name, field.In = field.Argument, InUpload
			if err := add(field); err != nil {
				return nil, err
			}
		}
		return parameters, nil
	}
	return parameters, addBody(method, operation.RequestBody, add)
}

// addBody flattens a JSON body beside the other arguments.
func addBody(method string, body *v3.RequestBody, add func(Parameter) error) error {
	if body == nil || body.Content == nil {
		return nil
	}
	media := body.Content.GetOrZero("application/json")
	if media == nil || media.Schema == nil {
		return errors.New("its body is not JSON")
	}
	schema, err := inline(media.Schema)
	if err != nil {
		return fmt.Errorf("body: %w", err)
	}
	location := InBody
	// Many HTTP stacks drop the body of a GET; the API takes such members as
	// query parameters too.
	if method == "GET" || method == "HEAD" || method == "DELETE" {
		location = InQuery
	}
	if schema.Type != "object" || len(schema.Properties) == 0 {
		if location == InQuery {
			return errors.New("a body that is not an object cannot go into a query")
		}
		return add(Parameter{Argument: "body", Name: "body", In: AsBody, Required: body.Required != nil && *body.Required, Schema: schema})
	}
	for _, property := range schema.Properties {
		if err := add(Parameter{
			Argument: property.Name, Name: property.Name, In: location,
			Required: property.Required, Schema: property.Schema,
		}); err != nil {
			return err
		}
	}
	return nil
}

// apply changes p as the overlay says.
func (h *hint) apply(p *Parameter) error {
	a, ok := h.Arguments[p.Name]
	if !ok {
		// A required value with a default need not be asked for.
		p.Required = p.Required && p.Schema.Default == nil
		return nil
	}
	if a.Name != "" {
		p.Argument = a.Name
	}
	if a.Description != "" {
		p.Schema.Description = a.Description
	}
	if a.Default != nil {
		value, err := json.Marshal(a.Default)
		if err != nil {
			return fmt.Errorf("the default of %q: %w", p.Name, err)
		}
		p.Schema.Default = value
	}
	if a.Example != nil {
		value, err := json.Marshal(a.Example)
		if err != nil {
			return fmt.Errorf("the example of %q: %w", p.Name, err)
		}
		p.Schema.Examples = []json.RawMessage{value}
	}
	p.Required = p.Required && p.Schema.Default == nil
	p.Hidden, p.Aliases, p.Names = a.Hidden, a.Aliases, a.Names
	return nil
}

// inline copies a schema without references.
func inline(proxy *base.SchemaProxy) (*Schema, error) {
	return (&inliner{left: maxSchemas}).schema(proxy, maxDepth)
}

type inliner struct{ left int }

func (in *inliner) schema(proxy *base.SchemaProxy, depth int) (*Schema, error) {
	if proxy == nil || depth == 0 {
		return &Schema{}, nil
	}
	if in.left--; in.left < 0 {
		return nil, fmt.Errorf("its schema has more than %d parts", maxSchemas)
	}
	schema, err := proxy.BuildSchema()
	if err != nil {
		return nil, err
	}
	if schema == nil {
		return nil, fmt.Errorf("%s refers to nothing in this document", proxy.GetReference())
	}
	s := &Schema{Description: schema.Description, Format: schema.Format}
	for _, name := range schema.Type {
		switch {
		case name == "null":
			s.Nullable = true
		case s.Type == "":
			s.Type = name
		default:
			s.AnyOf = append(s.AnyOf, &Schema{Type: name})
		}
	}
	if s.AnyOf != nil {
		s.AnyOf = append(s.AnyOf, &Schema{Type: s.Type, Nullable: s.Nullable})
		s.Type, s.Nullable = "", false
	}
	if schema.Nullable != nil && *schema.Nullable {
		s.Nullable = true
	}
	if schema.Pattern != "" {
		// JSON Schema's patterns are ECMAScript's; what Go cannot read is left
		// to the API.
		if pattern, err := regexp.Compile(schema.Pattern); err == nil {
			s.Pattern = pattern
		}
	}
	s.Minimum, s.Maximum = schema.Minimum, schema.Maximum
	s.ExclusiveMinimum, s.Minimum = exclusive(schema.ExclusiveMinimum, s.Minimum)
	s.ExclusiveMaximum, s.Maximum = exclusive(schema.ExclusiveMaximum, s.Maximum)
	s.MinLength, s.MaxLength = schema.MinLength, schema.MaxLength
	s.MinItems, s.MaxItems = schema.MinItems, schema.MaxItems
	s.UniqueItems = schema.UniqueItems != nil && *schema.UniqueItems
	for _, node := range schema.Enum {
		value, err := compact(node)
		if err != nil {
			return nil, err
		}
		s.Enum = append(s.Enum, value)
	}
	if schema.Const != nil {
		value, err := compact(schema.Const)
		if err != nil {
			return nil, err
		}
		s.Enum = []json.RawMessage{value}
	}
	if schema.Default != nil {
		if s.Default, err = compact(schema.Default); err != nil {
			return nil, err
		}
	}
	if schema.Items != nil && schema.Items.IsA() {
		if s.Items, err = in.schema(schema.Items.A, depth-1); err != nil {
			return nil, err
		}
	}
	if schema.Properties != nil {
		for name, property := range schema.Properties.FromOldest() {
			inlined, err := in.schema(property, depth-1)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", name, err)
			}
			s.Properties = append(s.Properties, Property{
				Name: name, Required: slices.Contains(schema.Required, name), Schema: inlined,
			})
		}
	}
	if additional := schema.AdditionalProperties; additional != nil && additional.IsB() {
		s.Closed = !additional.B
	}
	for _, part := range schema.AllOf {
		inlined, err := in.schema(part, depth-1)
		if err != nil {
			return nil, err
		}
		s.merge(inlined)
	}
	for _, alternative := range slices.Concat(schema.AnyOf, schema.OneOf) {
		inlined, err := in.schema(alternative, depth-1)
		if err != nil {
			return nil, err
		}
		s.AnyOf = append(s.AnyOf, inlined)
	}
	return s, nil
}

// merge adds the members of an allOf part; a keyword that is set stays.
func (s *Schema) merge(part *Schema) {
	s.Type = firstOf(s.Type, part.Type)
	s.Description = firstOf(s.Description, part.Description)
	s.Format = firstOf(s.Format, part.Format)
	s.Nullable = s.Nullable || part.Nullable
	if s.Enum == nil {
		s.Enum = part.Enum
	}
	if s.Items == nil {
		s.Items = part.Items
	}
	for _, property := range part.Properties {
		if !slices.ContainsFunc(s.Properties, func(p Property) bool { return p.Name == property.Name }) {
			s.Properties = append(s.Properties, property)
		}
	}
	s.AnyOf = append(s.AnyOf, part.AnyOf...)
}

// exclusive turns the boolean of OpenAPI 3.0 into the number of 3.1.
func exclusive(value *base.DynamicValue[bool, float64], bound *float64) (exclusive, inclusive *float64) {
	switch {
	case value == nil:
		return nil, bound
	case value.IsB():
		return &value.B, bound
	case value.A:
		return bound, nil
	default:
		return nil, bound
	}
}

func firstOf(values ...string) string {
	for _, value := range values {
		if value != "" {
			return value
		}
	}
	return ""
}
