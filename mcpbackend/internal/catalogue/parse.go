package catalogue

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	"go.yaml.in/yaml/v4"
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

// methods are those of a path item (OpenAPI 3.1 §4.8.9).
var methods = []string{"get", "put", "post", "delete", "options", "head", "patch", "trace"}

// parse makes tools of a document that the overlay has changed. Called are
// names of tools, by operationId, that texts may speak of though the document
// has them no more.
func (d *tree) parse(common map[string]argumentHint, called map[string]string) (*source, error) {
	s := &source{common: common, ignored: map[string][]string{}}
	return s, s.read(d, called)
}

// toolNames are the names of the tools that operations get, by operationId.
func (d *tree) toolNames() map[string]string {
	all := map[string]string{}
	for _, item := range members(member(d.top, "paths")) {
		for method, operation := range members(d.follow(item)) {
			if id := word(operation, "operationId"); id != "" && slices.Contains(methods, method) {
				all[id] = firstOf(word(member(operation, extension), "name"), snake(id))
			}
		}
	}
	return all
}

func (s *source) read(d *tree, called map[string]string) error {
	info := member(d.top, "info")
	s.title, s.version = word(info, "title"), word(info, "version")
	names := map[string]string{}
	next := map[string]*nextHint{}
	for path, item := range members(member(d.top, "paths")) {
		item = d.follow(item)
		for method, operation := range members(item) {
			if !slices.Contains(methods, method) || operation.Kind != yaml.MappingNode {
				continue
			}
			method = strings.ToUpper(method)
			tool, h, err := d.makeTool(path, method, item, operation, s.common)
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
	if called == nil {
		called = names
	}
	for i := range s.tools {
		operation := &s.tools[i].Operation
		s.tools[i].InputSchema = inputSchema(operation.Parameters, called)
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

func (d *tree) makeTool(path, method string, item, operation *yaml.Node, common map[string]argumentHint) (Tool, *hint, error) {
	h := &hint{}
	if node := member(operation, extension); node != nil {
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
	id, summary := word(operation, "operationId"), word(operation, "summary")
	if id == "" {
		return Tool{}, nil, errors.New("it has no operationId")
	}
	t := Tool{
		Name:        h.Name,
		Title:       firstOf(h.Title, summary, id),
		Description: firstOf(h.Description, word(operation, "description"), summary, id),
		Toolset:     firstOf(h.Toolset, OtherTools),
		Scopes:      h.Scopes,
		Aliases:     h.Aliases,
	}
	if t.Name == "" {
		t.Name = snake(id)
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

	parameters, err := d.parametersOf(path, method, item, operation, h)
	if err != nil {
		return Tool{}, nil, err
	}
	if !t.ReadOnly {
		for _, p := range slices.Concat(clearable(method, parameters), gatewayArguments()) {
			if slices.ContainsFunc(parameters, func(own Parameter) bool { return own.Argument == p.Argument }) {
				return Tool{}, nil, fmt.Errorf("it has an argument %q of its own; give it another name in the overlay", p.Argument)
			}
			parameters = append(parameters, p)
		}
	}
	list := ""
	if t.ReadOnly && method == "GET" {
		parameters, list = answerArguments(parameters, h.List)
	}
	t.Operation = Operation{ID: id, Method: method, Path: path, Parameters: parameters, List: list}
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
		if p.Hidden || p.Unlisted {
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
func scopesOf(operation *yaml.Node) []string {
	for _, requirement := range elements(member(operation, "security")) {
		for _, list := range members(requirement) {
			scopes := slices.DeleteFunc(words(list), func(s string) bool { return s == "openid" })
			if len(scopes) > 0 {
				return scopes
			}
		}
	}
	return nil
}

func (d *tree) parametersOf(path, method string, item, operation *yaml.Node, h *hint) ([]Parameter, error) {
	segments, err := template(path)
	if err != nil {
		return nil, err
	}
	declared := map[string]declaration{}
	var order []string
	// An operation's parameter replaces that of its path (OpenAPI 3.1 §4.8.10).
	for _, node := range slices.Concat(elements(member(item, "parameters")), elements(member(operation, "parameters"))) {
		p, err := d.declaration(node)
		if err != nil {
			return nil, err
		}
		key := p.in + " " + p.name
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
		if h.Upload != nil && p.in == "query" && p.name == h.Upload.Query {
			continue
		}
		required := p.required
		var location Location
		switch p.in {
		case "path":
			if !slices.Contains(segments, "{"+p.name+"}") {
				continue
			}
			inPath++
			location, required = InPath, true
		case "query":
			location = InQuery
		default:
			// Headers and cookies are ours to set, not a model's.
			if required {
				return nil, fmt.Errorf("it requires the %s parameter %q", p.in, p.name)
			}
			continue
		}
		schema, err := d.inline(p.schema)
		if err != nil {
			return nil, fmt.Errorf("parameter %q: %w", p.name, err)
		}
		if p.description != "" {
			schema.Description = p.description
		}
		if err := add(Parameter{
			// PHP's brackets are not part of the name (see package neonpanel).
			Argument: strings.TrimSuffix(p.name, "[]"), Name: p.name,
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
		// Lines of 76 characters (RFC 2045 §6.8) have ends, and data URLs a beginning.
		limit += limit/76*2 + 128
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
	return parameters, d.addBody(method, member(operation, "requestBody"), add)
}

// declaration is a parameter as the document has it.
type declaration struct {
	in, name, description string
	required              bool
	schema                *yaml.Node
}

func (d *tree) declaration(node *yaml.Node) (declaration, error) {
	value := d.follow(node)
	p := declaration{
		in: word(value, "in"), name: word(value, "name"), required: truth(value, "required"),
		// A reference may bring a description of its own (OpenAPI 3.1 §4.8.23).
		description: firstOf(word(node, "description"), word(value, "description")),
		schema:      member(value, "schema"),
	}
	if p.in == "" || p.name == "" {
		return p, errors.New("a parameter has no name or place, or refers to nothing")
	}
	return p, nil
}

// jsonBody is the schema of a JSON body; nil if it takes none.
func jsonBody(body *yaml.Node) *yaml.Node {
	for mediaType, content := range members(member(body, "content")) {
		mediaType, _, _ = strings.Cut(mediaType, ";")
		if strings.EqualFold(strings.TrimSpace(mediaType), "application/json") {
			return member(content, "schema")
		}
	}
	return nil
}

// addBody flattens a JSON body beside the other arguments.
func (d *tree) addBody(method string, body *yaml.Node, add func(Parameter) error) error {
	if body = d.follow(body); member(body, "content") == nil {
		return nil
	}
	node := jsonBody(body)
	if node == nil {
		return errors.New("its body is not JSON")
	}
	schema, err := d.inline(node)
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
		return add(Parameter{Argument: "body", Name: "body", In: AsBody, Required: truth(body, "required"), Schema: schema})
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
	p.Hidden, p.Aliases, p.Names, p.NameScopes, p.Uniform = a.Hidden, a.Aliases, a.Names, a.NameScopes, a.Uniform
	p.NamedBy = a.NamedBy
	return nil
}
