{{- define "labels" -}}
app.kubernetes.io/name: neonpanel-mcp
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "settings" -}}
PUBLIC_URL: {{ .Values.publicURL | quote }}
{{- range $name, $value := .Values.settings }}
{{- if not (kindIs "invalid" $value) }}
{{ $name }}: {{ $value | quote }}
{{- end }}
{{- end }}
{{- if .Values.tls.enabled }}
EDGE_TLS_CERT: /etc/neonpanel/tls/tls.crt
EDGE_TLS_KEY: /etc/neonpanel/tls/tls.key
{{- end }}
{{- if and .Values.gateway.enabled (not (hasKey .Values.settings "EDGE_TRUSTED_HOPS")) }}
EDGE_TRUSTED_HOPS: "1"
{{- end }}
{{- if .Values.monitoring.enabled }}
AUTHZ_OPS_LISTEN: 127.0.0.1:9101,0.0.0.0:9111
AUTHZ_TLS_CERT: /etc/neonpanel/ops-tls/tls.crt
AUTHZ_TLS_KEY: /etc/neonpanel/ops-tls/tls.key
AUTHZ_TLS_CLIENT_CA: /etc/neonpanel/ops-tls/ca.crt
AUTHZ_TLS_CLIENT_SANS: nobody.invalid
MCPBACKEND_TLS_CLIENT_SANS: nobody.invalid
MCPBACKEND_OPS_LISTEN: 127.0.0.1:9102,0.0.0.0:9112
MCPBACKEND_TLS_CERT: /etc/neonpanel/ops-tls/tls.crt
MCPBACKEND_TLS_KEY: /etc/neonpanel/ops-tls/tls.key
MCPBACKEND_TLS_CLIENT_CA: /etc/neonpanel/ops-tls/ca.crt
{{- end }}
{{- if .Values.introspection.enabled }}
AUTHZ_INTROSPECTION_CLIENT_ID: {{ .Values.introspection.clientID | quote }}
AUTHZ_INTROSPECTION_CLIENT_SECRET_FILE: /etc/neonpanel/introspection/client-secret
{{- end }}
{{- if .Values.redis.enabled }}
{{- if .Values.introspection.enabled }}
AUTHZ_REDIS_URL_FILE: /etc/neonpanel/redis/url
AUTHZ_REDIS_SECRET_FILE: /etc/neonpanel/redis/secret
{{- end }}
MCPBACKEND_REDIS_URL_FILE: /etc/neonpanel/redis/url
MCPBACKEND_REDIS_SECRET_FILE: /etc/neonpanel/redis/secret
{{- end }}
{{- end }}
