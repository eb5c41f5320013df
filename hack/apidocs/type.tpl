{{- define "type" -}}
{{- if markdownShouldRenderType . }}
## {{ .Name }}
{{ if .IsAlias }}
A {{ .UnderlyingType.Name }}.
{{- end }}
{{ .Doc }}
{{ if .References }}
In:
{{- range $i, $r := .SortedReferences }}{{ if $i }},{{ end }} {{ markdownRenderTypeLink $r }}{{ end }}
{{ end }}
{{- if .Members }}
| field | | default | bounds |
|---|---|---|---|
{{- if .GVK }}
| `apiVersion` | `{{ .GVK.Group }}/{{ .GVK.Version }}` | | |
| `kind` | `{{ .GVK.Kind }}` | | |
{{- end }}
{{- range .Members }}
| `{{ .Name }}` _{{ markdownRenderType .Type }}_ | {{ if eq .Name "metadata" }}see Kubernetes' API{{ else }}{{ markdownRenderFieldDoc .Doc | replace "<br />" " " | trim }}{{ end }} | {{ markdownRenderDefault .Default }} | {{ template "bounds" .Validation }} |
{{- end }}
{{ end }}
{{- if .EnumValues }}
| value | |
|---|---|
{{- range .EnumValues }}
| `{{ .Name }}` | {{ markdownRenderFieldDoc .Doc | replace "<br />" " " | trim }} |
{{- end }}
{{ end }}
{{- end }}
{{- end -}}

{{- define "bounds" -}}
{{- $first := true }}
{{- range . }}
{{- if not (or (hasPrefix "Optional" .) (hasPrefix "Type:" .)) }}
{{- if not $first }}; {{ end }}{{ $first = false }}{{ if hasPrefix "Required" . }}required{{ else if regexMatch "e[+][0-9]+$" . }}{{ regexFind "^[A-Za-z:]+ " . }}{{ regexFind "-?[0-9.]+e[+][0-9]+$" . | float64 | printf "%.0f" }}{{ else }}{{ markdownRenderFieldDoc . }}{{ end }}
{{- end }}
{{- end }}
{{- end -}}
