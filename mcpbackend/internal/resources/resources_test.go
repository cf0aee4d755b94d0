package resources

import (
	"net/url"
	"strings"
	"testing"
)

func TestTemplatesAreDistinct(t *testing.T) {
	t.Parallel()
	seen := map[string]bool{}
	for _, template := range Templates() {
		for _, key := range []string{template.URI, template.Name, "collection " + template.collection} {
			if seen[key] {
				t.Errorf("%s is there twice", key)
			}
			seen[key] = true
		}
		if template.variable != "" && !strings.HasSuffix(template.URI, "/"+template.collection+"/{"+template.variable+"}") {
			t.Errorf("%s does not end in its variable", template.URI)
		}
		if template.Title == "" || template.Description == "" || !strings.HasPrefix(template.URI, "neonpanel://companies/{company}") {
			t.Errorf("%+v", template)
		}
	}
}

func FuzzURI(f *testing.F) {
	for _, s := range []string{
		"neonpanel://companies/b73447", "neonpanel://companies/TRAIL/bills/51", "neonpanel://companies/Acme%20Toys/items/7",
		"neonpanel://companies/../bills/1", "neonpanel://companies/%2e%2e/bills/1", "neonpanel://companies/a%00/bills/1",
		"neonpanel://companies/a/bills/1/x", "neonpanel://companies/a/bills/", "http://x", "",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, uri string) {
		template, owner, id, ok := parse(uri)
		if !ok {
			return
		}
		if owner == "" || owner == ".." || strings.ContainsAny(owner, "/\\?#\x00\n") || id < 0 {
			t.Errorf("%q gives the company %q and the id %d", uri, owner, id)
		}
		// Written again it is the same resource.
		again := prefix + url.PathEscape(owner)
		if template.collection != "" {
			again = strings.TrimSuffix(uri, uri[strings.LastIndex(uri, "/"):])
			again = prefix + url.PathEscape(owner) + "/" + template.collection + uri[len(again):]
		}
		other, owned, number, ok := parse(again)
		if !ok || other.URI != template.URI || owned != owner || number != id {
			t.Errorf("%q is %s of %q, %q is not", uri, template.Name, owner, again)
		}
	})
}
