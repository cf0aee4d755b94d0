package catalogue

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	"go.yaml.in/yaml/v4"
)

const (
	// MaxLiveBytes is the largest live document that is read.
	MaxLiveBytes = 2 << 20
	// maxLiveParts bounds what parsing it may cost: about two nodes for each.
	maxLiveParts = 150_000
	// maxLiveSchemas is how many parts the schemas that are looked at may have,
	// references followed, and maxLiveMembers how many parts a body.
	maxLiveSchemas, maxLiveMembers = 50_000, 5000
	// maxOptions is the longest enum that a live document may bring.
	maxOptions = 50
)

// option is a value of an enum that may come from a live document: one word,
// since a model reads it.
var option = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_.:+-]{0,31}$`)

// readLive reads the document that the API serves. It may be anything: an error
// page, half a document, or one that was written to do harm.
func readLive(document []byte) (*tree, error) {
	if len(document) > MaxLiveBytes {
		return nil, fmt.Errorf("the OpenAPI document is larger than %d bytes", MaxLiveBytes)
	}
	parts := 0
	for _, c := range []string{",", ":", "\n", "[", "{", "- "} {
		parts += bytes.Count(document, []byte(c))
	}
	if parts > maxLiveParts {
		return nil, fmt.Errorf("the OpenAPI document has more than %d parts", maxLiveParts)
	}
	refersToComponents := bytes.Contains(document, []byte(components))
	root, _, err := readTree(document)
	if err != nil {
		return nil, err
	}
	top := root.Content[0]
	if member(top, "components") == nil && refersToComponents {
		return nil, errors.New("the OpenAPI document refers to components, of which it has none: it was cut off, perhaps")
	}
	d, left := newTree(top), maxLiveSchemas
	d.left = &left
	return d, nil
}

// adopt is the document changed to what the API's own one of the moment says, as
// far as that is trusted: which operations there are, of what types their
// arguments are, and which short values these may have. Everything else stays,
// arguments that theirs does not mention too: it leaves out many that the API
// takes. What the overlay does not know goes.
func (d *tree) adopt(live *tree, common map[string]argumentHint) (_ *tree, findings []string) {
	find := func(format string, arguments ...any) {
		findings = append(findings, fmt.Sprintf(format, arguments...))
	}
	theirs := live.operations()
	paths := member(d.top, "paths")
	prefix := staticPrefix(paths)
	kept := &yaml.Node{Kind: yaml.MappingNode}
	for path, ours := range members(paths) {
		ours = d.follow(ours)
		for method, operation := range members(ours) {
			known := member(operation, extension)
			if !slices.Contains(methods, method) || known == nil {
				continue
			}
			h := &hint{}
			if known.Decode(h) != nil {
				continue // [source.read] says so for the document itself
			}
			h.inherit(common)
			at, found, ok := path, liveOperation{}, false
			for _, candidate := range append([]string{path}, h.Formerly...) {
				shape := shapeOf(candidate)
				if found, ok = theirs[method+" "+shape]; !ok {
					// Documents that name a server below the root leave the
					// common part out.
					found, ok = theirs[method+" "+strings.TrimPrefix(shape, prefix)]
				}
				if ok {
					at = candidate
					break
				}
			}
			if !ok {
				find("the live document has no %s %s: no tool for it", strings.ToUpper(method), path)
				continue
			}
			found.used = true
			theirs[found.key] = found
			adopted := d.adoptOperation(ours, operation, at, live, found, h, find)
			item := member(kept, at)
			if item == nil {
				item = &yaml.Node{Kind: yaml.MappingNode}
				kept.Content = append(kept.Content, scalar(at), item)
			}
			item.Content = append(item.Content, scalar(method), adopted)
		}
	}
	unknown := 0
	for _, operation := range theirs {
		if !operation.used {
			unknown++
		}
	}
	if unknown > 0 {
		find("the live document has %d operations that the overlay does not know: no tools for them", unknown)
	}
	top := without(d.top, "paths")
	top.Content = append(top.Content, scalar("paths"), kept)
	return newTree(top), findings
}

// liveOperation is an operation of a live document.
type liveOperation struct {
	key             string
	path            string
	item, operation *yaml.Node
	used            bool
}

// operations are those of the document by method and shape of the path. Of two
// that are the same, the first counts.
func (d *tree) operations() map[string]liveOperation {
	all := map[string]liveOperation{}
	for path, item := range members(member(d.top, "paths")) {
		item = d.follow(item)
		for method, operation := range members(item) {
			key := method + " " + shapeOf(path)
			if _, twice := all[key]; !twice && slices.Contains(methods, method) && operation.Kind == yaml.MappingNode {
				all[key] = liveOperation{key: key, path: path, item: item, operation: operation}
			}
		}
	}
	return all
}

// shapeOf is a path template without the names of its parameters: templates
// that differ in these alone are the same (OpenAPI 3.1 §4.8.8.2).
func shapeOf(path string) string {
	segments := strings.Split(strings.TrimSuffix(path, "/"), "/")
	for i, segment := range segments {
		if strings.HasPrefix(segment, "{") && strings.HasSuffix(segment, "}") {
			segments[i] = "{}"
		}
	}
	return strings.Join(segments, "/")
}

// staticPrefix are the first segments that all paths share, such as /api/v1.
func staticPrefix(paths *yaml.Node) string {
	var shared []string
	first := true
	for path := range members(paths) {
		segments := strings.Split(path, "/")
		if first {
			shared, first = segments, false
		}
		n := 0
		for n < len(shared) && n < len(segments) && shared[n] == segments[n] && !strings.HasPrefix(shared[n], "{") {
			n++
		}
		shared = shared[:n]
	}
	return strings.Join(shared, "/")
}

// adoptOperation is our operation with the types of theirs.
func (d *tree) adoptOperation(item, operation *yaml.Node, path string, live *tree, found liveOperation, h *hint, find func(string, ...any)) *yaml.Node {
	id := word(operation, "operationId")
	theirs := live.arguments(found, path)
	ours := map[string]bool{}
	// adopted is what becomes of an argument; nil if it stays as it is.
	adopted := func(name string, schema *Schema, in Location) *Schema {
		ours[argumentKey(name)] = true
		their, ok := theirs[argumentKey(name)]
		a := h.Arguments[name]
		switch {
		case !ok, a.Hidden, a.Names != "": // not mentioned, or the gateway's own
			return nil
		}
		taken, err := live.inline(their.node)
		if err != nil {
			find("the live document's argument %s of %s cannot be read: %v", name, id, err)
			return nil
		}
		result := adoptSchema(schema, taken)
		if in == InPath && result.Type != "string" && result.Type != "integer" {
			return nil
		}
		for _, value := range []any{a.Default, a.Example} {
			if encoded, err := json.Marshal(value); value != nil && (err != nil || !result.allows(encoded)) {
				find("the live document's argument %s of %s does not allow what the overlay says of it", name, id)
				return nil
			}
		}
		if bytes.Equal(result.append(nil), schema.append(nil)) {
			return nil
		}
		return result
	}

	result := without(operation, "parameters", "requestBody")
	var parameters []*yaml.Node
	for _, node := range slices.Concat(elements(member(item, "parameters")), elements(member(operation, "parameters"))) {
		p, err := d.declaration(node)
		if err == nil && p.in == "path" && !strings.Contains(path, "{"+p.name+"}") {
			continue // the path is a former one
		}
		if schema, failed := d.inline(p.schema); err == nil && failed == nil && (p.in == "path" || p.in == "query") {
			if changed := adopted(p.name, schema, Location(p.in)); changed != nil {
				node = object("name", scalar(p.name), "in", scalar(p.in), "description", scalar(p.description),
					"required", boolean(p.required), "schema", changed.node())
			}
		}
		parameters = append(parameters, node)
	}
	if len(parameters) > 0 {
		result.Content = append(result.Content, scalar("parameters"), &yaml.Node{Kind: yaml.SequenceNode, Content: parameters})
	}
	if body := d.adoptBody(operation, h, adopted); body != nil {
		result.Content = append(result.Content, scalar("requestBody"), body)
	}
	if h.Upload == nil {
		for _, name := range slices.Sorted(maps.Keys(theirs)) {
			if theirs[name].required && !ours[name] {
				find("the live document requires an argument %.40q of %s, which the tool does not have", name, id)
			}
		}
	}
	return result
}

// adoptBody is our body with the types of theirs; nil if we have none.
func (d *tree) adoptBody(operation *yaml.Node, h *hint, adopted func(string, *Schema, Location) *Schema) *yaml.Node {
	body := member(operation, "requestBody")
	schema, err := d.inline(jsonBody(d.follow(body)))
	if h.Upload != nil || err != nil {
		return body
	}
	same := true
	for i := range schema.Properties {
		p := &schema.Properties[i]
		if changed := adopted(p.Name, p.Schema, InBody); changed != nil {
			p.Schema, same = changed, false
		}
	}
	if same {
		return body
	}
	return object("required", boolean(truth(d.follow(body), "required")),
		"content", object("application/json", object("schema", schema.node())))
}

// liveArgument is what a live document says of an argument.
type liveArgument struct {
	node     *yaml.Node // its schema
	required bool
}

// arguments are those of an operation by [argumentKey], wherever they go. Those
// in the path are called as in our path, whatever the document calls them.
func (d *tree) arguments(o liveOperation, path string) map[string]liveArgument {
	all := map[string]liveArgument{}
	body := d.follow(member(o.operation, "requestBody"))
	left := maxLiveMembers
	d.bodyMembers(jsonBody(body), maxDepth, &left, true, all)
	ours := strings.Split(strings.TrimSuffix(path, "/"), "/")
	segments := strings.Split(strings.TrimSuffix(o.path, "/"), "/")
	for _, node := range slices.Concat(elements(member(o.item, "parameters")), elements(member(o.operation, "parameters"))) {
		p, err := d.declaration(node)
		if err != nil {
			continue
		}
		name := p.name
		switch p.in {
		case "path":
			i := slices.Index(segments, "{"+p.name+"}")
			if i < 0 {
				continue
			}
			// From the end: the first segments may be missing.
			if i += len(ours) - len(segments); i < 0 || i >= len(ours) {
				continue
			}
			name = strings.Trim(ours[i], "{}")
		case "query":
		default:
			continue
		}
		// A path cannot do without.
		all[argumentKey(name)] = liveArgument{p.schema, p.required && p.in != "path"}
	}
	return all
}

// bodyMembers collects the members of a JSON body, in whatever parts it is
// written. Of alternatives it has the members of all, and none must be given.
func (d *tree) bodyMembers(node *yaml.Node, depth int, left *int, certain bool, into map[string]liveArgument) {
	node = d.follow(node)
	if *left -= 1 + length(node, "required"); node == nil || depth == 0 || *left < 0 {
		return
	}
	required := map[string]bool{}
	for _, name := range words(member(node, "required")) {
		required[name] = certain
	}
	for name, property := range members(member(node, "properties")) {
		if *left--; *left < 0 {
			return
		}
		if _, taken := into[argumentKey(name)]; !taken {
			into[argumentKey(name)] = liveArgument{property, required[name]}
		}
	}
	for _, keyword := range []string{"allOf", "anyOf", "oneOf"} {
		for _, part := range elements(member(node, keyword)) {
			d.bodyMembers(part, depth-1, left, certain && keyword == "allOf", into)
		}
	}
}

// argumentKey is a name as it is compared: PHP's brackets are not part of it.
func argumentKey(name string) string { return strings.TrimSuffix(name, "[]") }

// adoptSchema is ours with the types and the short values of theirs. Neither is
// changed. A null that we do not offer stays out: models that fill in every
// argument of a form would wipe out with it what an update should leave alone.
func adoptSchema(ours, theirs *Schema) *Schema {
	s := *ours
	switch {
	case len(theirs.AnyOf) > 0:
		return adoptAlternatives(ours, theirs)
	case theirs.Type == "" || ours.Type == "":
		if ours.Type == "" && ours.AnyOf == nil && primitive(theirs.Type) {
			s.Type = theirs.Type
		}
	case theirs.Type == ours.Type:
		s.Nullable = ours.Nullable && theirs.Nullable
		switch {
		case s.Type == "array" && ours.Items != nil && theirs.Items != nil:
			s.Items = adoptSchema(ours.Items, theirs.Items)
		case s.Type == "object" && len(ours.Properties) > 0 && len(theirs.Properties) > 0:
			s.Properties = adoptProperties(ours.Properties, theirs.Properties)
		}
	case theirs.Type == "array" && primitive(ours.Type) && theirs.Items != nil:
		element := adoptSchema(ours, theirs.Items)
		element.Description, element.Default, element.Examples, element.Nullable = "", nil, nil, false
		return &Schema{Type: "array", Nullable: ours.Nullable && theirs.Nullable, Description: ours.Description, Items: element}
	case ours.Type == "array" && primitive(theirs.Type) && ours.Items != nil:
		element := adoptSchema(ours.Items, theirs)
		element.Description = ours.Description
		return element
	case primitive(ours.Type) && primitive(theirs.Type):
		s.retype(theirs.Type)
		s.Nullable = ours.Nullable && theirs.Nullable
	}
	if len(theirs.Enum) > 0 {
		s.adoptEnum(theirs.Enum)
	}
	if s.Default != nil && !s.allows(s.Default) {
		s.Default = nil
	}
	s.Examples = slices.DeleteFunc(slices.Clone(s.Examples), func(e json.RawMessage) bool { return !s.allows(e) })
	if len(s.Examples) == 0 {
		s.Examples = nil
	}
	return &s
}

func primitive(name string) bool {
	return name == "string" || name == "integer" || name == "number" || name == "boolean"
}

// retype changes the type and drops what only the old one had.
func (s *Schema) retype(name string) {
	numeric := func(name string) bool { return name == "integer" || name == "number" }
	if !numeric(name) || !numeric(s.Type) {
		s.Minimum, s.Maximum, s.ExclusiveMinimum, s.ExclusiveMaximum = nil, nil, nil, nil
	}
	s.Format, s.Pattern, s.MinLength, s.MaxLength = "", nil, nil, nil
	s.Type = name
	s.Enum = slices.DeleteFunc(slices.Clone(s.Enum), func(value json.RawMessage) bool { return !s.admits(value) })
	if len(s.Enum) == 0 {
		s.Enum = nil
	}
}

// adoptProperties are ours, with the types of theirs. Names that we do not know
// are text of theirs.
func adoptProperties(ours, theirs []Property) []Property {
	adopted := slices.Clone(ours)
	for i := range adopted {
		p := &adopted[i]
		if j := slices.IndexFunc(theirs, func(their Property) bool { return argumentKey(their.Name) == argumentKey(p.Name) }); j >= 0 {
			p.Schema = adoptSchema(p.Schema, theirs[j].Schema)
		}
	}
	return adopted
}

// adoptAlternatives takes the types that a value may have.
func adoptAlternatives(ours, theirs *Schema) *Schema {
	s := &Schema{Description: ours.Description}
	seen := map[string]bool{}
	for _, alternative := range theirs.AnyOf {
		form := &Schema{Type: alternative.Type}
		switch {
		case alternative.Type == "" || seen[alternative.Type]:
			continue
		case alternative.Type == ours.Type:
			form = adoptSchema(ours, alternative)
			form.Description, form.Default, form.Examples = "", nil, nil
		case alternative.Type == "array" && ours.Type == "array", alternative.Type == "object":
			continue // of an inside that we do not know
		case alternative.Type == "array":
			form = adoptSchema(ours, alternative)
			form.Description, form.Default, form.Examples = "", nil, nil
			if form.Type != "array" {
				continue
			}
		}
		seen[form.Type] = true
		s.AnyOf = append(s.AnyOf, form)
	}
	switch len(s.AnyOf) {
	case 0:
		return ours
	case 1:
		return adoptSchema(ours, s.AnyOf[0])
	}
	if ours.Default != nil && s.allows(ours.Default) {
		s.Default = ours.Default
	}
	return s
}

// adoptEnum takes their values if each is short, or one of ours.
func (s *Schema) adoptEnum(theirs []json.RawMessage) {
	if len(theirs) > maxOptions {
		return
	}
	var values []json.RawMessage
	for _, value := range theirs {
		known := slices.ContainsFunc(s.Enum, func(own json.RawMessage) bool { return bytes.Equal(own, value) })
		var text string
		switch {
		case string(value) == "null" && s.Nullable:
		case !s.admits(value) || value[0] == '{' || value[0] == '[':
			return
		case known:
		case json.Unmarshal(value, &text) == nil && !option.MatchString(text):
			return
		case len(value) > 40:
			return
		}
		values = append(values, value)
	}
	s.Enum = values
}

// admits says whether a value is of a schema's type.
func (s *Schema) admits(value json.RawMessage) bool {
	if len(value) == 0 {
		return false
	}
	first := value[0]
	number := first == '-' || first >= '0' && first <= '9'
	switch s.Type {
	case "string":
		return first == '"'
	case "integer":
		return number && !bytes.ContainsAny(value, ".eE")
	case "number":
		return number
	case "boolean":
		return first == 't' || first == 'f'
	case "array":
		return first == '['
	case "object":
		return first == '{'
	}
	return true
}

// allows says whether a value that we wrote is still one of those allowed.
func (s *Schema) allows(value json.RawMessage) bool {
	if string(value) == "null" && s.Nullable {
		return true
	}
	if len(s.AnyOf) > 0 && !slices.ContainsFunc(s.AnyOf, func(form *Schema) bool { return form.allows(value) }) {
		return false
	}
	if len(s.Enum) > 0 && !slices.ContainsFunc(s.Enum, func(own json.RawMessage) bool { return bytes.Equal(own, value) }) {
		return false
	}
	var elements []json.RawMessage
	if s.Type == "array" && s.Items != nil && json.Unmarshal(value, &elements) == nil {
		return !slices.ContainsFunc(elements, func(element json.RawMessage) bool { return !s.Items.allows(element) })
	}
	return s.admits(value)
}

// node is the schema as part of a document.
func (s *Schema) node() *yaml.Node {
	var root yaml.Node
	// What we write is JSON, and JSON is YAML.
	if yaml.Unmarshal(s.append(nil), &root) != nil || len(root.Content) != 1 {
		return object()
	}
	return root.Content[0]
}

// object makes an object of names and values in turn.
func object(pairs ...any) *yaml.Node {
	o := &yaml.Node{Kind: yaml.MappingNode}
	for i := 0; i+1 < len(pairs); i += 2 {
		o.Content = append(o.Content, scalar(pairs[i].(string)), pairs[i+1].(*yaml.Node))
	}
	return o
}

func boolean(value bool) *yaml.Node {
	return &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!bool", Value: fmt.Sprint(value)}
}

// published is the document without the overlay's hints, and without components
// that nothing refers to.
func (d *tree) published() *yaml.Node {
	paths := &yaml.Node{Kind: yaml.MappingNode}
	for path, item := range members(member(d.top, "paths")) {
		bare := &yaml.Node{Kind: yaml.MappingNode}
		for method, operation := range members(item) {
			bare.Content = append(bare.Content, scalar(method), without(operation, extension))
		}
		paths.Content = append(paths.Content, scalar(path), bare)
	}
	top := without(d.top, "paths", "components", extension)
	top.Content = append(top.Content, scalar("paths"), paths)
	taken := map[component]bool{}
	d.refersTo(top, taken)
	kinds := &yaml.Node{Kind: yaml.MappingNode}
	for kind, all := range members(member(d.top, "components")) {
		kept := &yaml.Node{Kind: yaml.MappingNode}
		for i := 0; i+1 < len(all.Content); i += 2 {
			// Security requirements name their schemes without a reference.
			if kind == "securitySchemes" || taken[component{kind, all.Content[i].Value}] {
				kept.Content = append(kept.Content, all.Content[i], all.Content[i+1])
			}
		}
		if len(kept.Content) > 0 {
			kinds.Content = append(kinds.Content, scalar(kind), kept)
		}
	}
	if len(kinds.Content) > 0 {
		top.Content = append(top.Content, scalar("components"), kinds)
	}
	return &yaml.Node{Kind: yaml.DocumentNode, Content: []*yaml.Node{top}}
}

// refersTo collects the components that a node refers to, directly or not.
func (d *tree) refersTo(node *yaml.Node, taken map[component]bool) {
	if key, ok := componentOf(reference(node)); ok && !taken[key] {
		taken[key] = true
		if target := d.components[key]; target != nil {
			d.refersTo(target, taken)
		}
	}
	for _, child := range node.Content {
		d.refersTo(child, taken)
	}
}
