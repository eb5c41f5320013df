{{- define "gvList" -}}
# API reference

Written by `make api-docs` from the types in `api/v1alpha1`; `kubectl explain proxyconfig.spec` shows the same for a cluster. What the fields do to
connections is in [semantics.md](semantics.md).
{{ range . }}
{{- $gv := . }}
`{{ .GroupVersionString }}` has the kinds
{{ range .SortedKinds }}
* {{ $gv.TypeForKind . | markdownRenderTypeLink }}
{{- end }}
{{ range .SortedTypes }}{{ template "type" . }}{{ end }}
{{- end -}}
{{- end -}}
