// Package render makes the Kubernetes objects as kubectl and helm would, with
// the libraries that those are made of.
package render

import (
	"errors"
	"fmt"
	"path/filepath"
	"strings"

	"helm.sh/helm/v4/pkg/chart/common"
	"helm.sh/helm/v4/pkg/chart/common/util"
	"helm.sh/helm/v4/pkg/chart/v2/loader"
	"helm.sh/helm/v4/pkg/engine"
	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/kyaml/filesys"
	"sigs.k8s.io/yaml"
)

// Kustomize builds a directory, as `kubectl kustomize` does, into one YAML
// document for each object.
func Kustomize(dir string) ([][]byte, error) {
	built, err := krusty.MakeKustomizer(krusty.MakeDefaultOptions()).Run(filesys.MakeFsOnDisk(), dir)
	if err != nil {
		return nil, err
	}
	var documents [][]byte
	for _, resource := range built.Resources() {
		text, err := resource.AsYAML()
		if err != nil {
			return nil, err
		}
		documents = append(documents, text)
	}
	return documents, nil
}

// Release is what a chart is installed as.
type Release struct {
	Name, Namespace string
	Values          []string // files, the last wins
}

// Helm renders a chart, as `helm template` does. A value that the chart's schema
// does not know is an error.
func Helm(dir string, release Release) ([][]byte, error) {
	chart, err := loader.Load(dir)
	if err != nil {
		return nil, err
	}
	values := map[string]any{}
	for _, file := range release.Values {
		more, err := common.ReadValuesFile(file)
		if err != nil {
			return nil, err
		}
		values = util.CoalesceTables(more.AsMap(), values)
	}
	all, err := util.ToRenderValues(chart, values, common.ReleaseOptions{
		Name: release.Name, Namespace: release.Namespace, Revision: 1, IsInstall: true,
	}, nil)
	if err != nil {
		return nil, err
	}
	files, err := engine.Render(chart, all)
	if err != nil {
		return nil, err
	}
	var documents [][]byte
	for name, text := range files {
		if filepath.Ext(name) != ".yaml" {
			continue
		}
		for document := range strings.SplitSeq(text, "\n---\n") {
			var content any
			if err := yaml.UnmarshalStrict([]byte(document), &content); err != nil {
				return nil, fmt.Errorf("%s: %w", name, err)
			}
			if content != nil {
				documents = append(documents, []byte(document))
			}
		}
	}
	if len(documents) == 0 {
		return nil, errors.New("the chart renders nothing")
	}
	return documents, nil
}
