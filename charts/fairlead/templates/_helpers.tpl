{{/*
fairlead.image is the name of an image: (list $ .Values.agent.image).
*/}}
{{- define "fairlead.image" -}}
{{- $root := index . 0 -}}
{{- $image := index . 1 -}}
{{- if $image.digest -}}
{{ $image.repository }}@{{ $image.digest }}
{{- else -}}
{{ $image.repository }}:{{ $image.tag | default (printf "v%s" $root.Chart.AppVersion) }}
{{- end -}}
{{- end -}}
