// Package manifest reads Kubernetes objects strictly, as the API server does
// with fieldValidation=Strict.
package manifest

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"

	monitoringv1 "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1"
	appsv1 "k8s.io/api/apps/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"
	"sigs.k8s.io/json"
	"sigs.k8s.io/yaml"
)

// Object is any Kubernetes object.
type Object = metav1.Object

// kinds are those that this project deploys; another one is an error.
var kinds = map[metav1.TypeMeta]func() Object{
	{APIVersion: "v1", Kind: "ConfigMap"}:                            func() Object { return new(corev1.ConfigMap) },
	{APIVersion: "v1", Kind: "Service"}:                              func() Object { return new(corev1.Service) },
	{APIVersion: "v1", Kind: "ServiceAccount"}:                       func() Object { return new(corev1.ServiceAccount) },
	{APIVersion: "apps/v1", Kind: "Deployment"}:                      func() Object { return new(appsv1.Deployment) },
	{APIVersion: "autoscaling/v2", Kind: "HorizontalPodAutoscaler"}:  func() Object { return new(autoscalingv2.HorizontalPodAutoscaler) },
	{APIVersion: "networking.k8s.io/v1", Kind: "NetworkPolicy"}:      func() Object { return new(networkingv1.NetworkPolicy) },
	{APIVersion: "policy/v1", Kind: "PodDisruptionBudget"}:           func() Object { return new(policyv1.PodDisruptionBudget) },
	{APIVersion: "gateway.networking.k8s.io/v1", Kind: "HTTPRoute"}:  func() Object { return new(gatewayv1.HTTPRoute) },
	{APIVersion: "monitoring.coreos.com/v1", Kind: "ServiceMonitor"}: func() Object { return new(monitoringv1.ServiceMonitor) },
	{APIVersion: "monitoring.coreos.com/v1", Kind: "PrometheusRule"}: func() Object { return new(monitoringv1.PrometheusRule) },
}

// Set is what is applied together, in the order of kind and name.
type Set []Object

// Read decodes YAML documents. Unknown, misspelt and repeated fields are errors.
func Read(documents [][]byte) (Set, error) {
	var set Set
	var faults []error
	for _, document := range documents {
		object, err := read(document)
		if err != nil {
			faults = append(faults, err)
			continue
		}
		set = append(set, object)
	}
	slices.SortFunc(set, func(a, b Object) int { return cmp.Compare(Name(a), Name(b)) })
	return set, errors.Join(faults...)
}

func read(document []byte) (Object, error) {
	text, err := yaml.YAMLToJSONStrict(document)
	if err != nil {
		return nil, err
	}
	var is metav1.TypeMeta
	if err := json.UnmarshalCaseSensitivePreserveInts(text, &is); err != nil {
		return nil, err
	}
	create, ok := kinds[is]
	if !ok {
		return nil, fmt.Errorf("%s %s: this project deploys no such kind", is.APIVersion, is.Kind)
	}
	object := create()
	strict, err := json.UnmarshalStrict(text, object)
	if err = errors.Join(append(strict, err)...); err != nil {
		return nil, fmt.Errorf("%s %s: %w", is.Kind, object.GetName(), err)
	}
	return object, nil
}

// Name tells an object from every other of a set.
func Name(o Object) string {
	return strings.TrimPrefix(fmt.Sprintf("%T", o), "*v1.") + "/" + o.GetName()
}

// One returns the only object of its type with that name.
func One[T Object](s Set, name string) (T, error) {
	var none T
	for _, o := range s {
		if found, ok := o.(T); ok && o.GetName() == name {
			return found, nil
		}
	}
	return none, fmt.Errorf("there is no %T/%s", none, name)
}

// All returns the objects of one type.
func All[T Object](s Set) []T {
	var all []T
	for _, o := range s {
		if found, ok := o.(T); ok {
			all = append(all, found)
		}
	}
	return all
}
