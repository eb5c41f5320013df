// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"debug/buildinfo"
	"fmt"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/fairlead-proxy/fairlead/hack/images/attest"
)

// sbom is what the tests read of an SPDX document.
type sbom struct {
	SPDXVersion       string `json:"spdxVersion"`
	ID                string `json:"SPDXID"`
	DocumentNamespace string
	Packages          []struct {
		ID           string `json:"SPDXID"`
		Name         string
		Version      string `json:"versionInfo"`
		ExternalRefs []struct {
			Locator string `json:"referenceLocator"`
		}
		Checksums []struct{ ChecksumValue string }
	}
	Relationships []struct{ SPDXElementID, RelationshipType, RelatedSPDXElement string }
}

// The document names every module of the program, and is complete in itself.
func TestSBOM(t *testing.T) {
	for _, k := range kinds {
		for arch, i := range read(t, k.name).images {
			t.Run(k.name+"/"+arch, func(t *testing.T) {
				var doc sbom
				parse(t, i.artifacts[attest.MediaTypeSPDX], &doc)
				if doc.SPDXVersion != "SPDX-2.3" || !strings.HasSuffix(doc.DocumentNamespace, i.descriptor.Digest.Encoded()) {
					t.Errorf("the document is %s of %s", doc.SPDXVersion, doc.DocumentNamespace)
				}
				locators, related := map[string]bool{}, map[string]bool{doc.ID: true}
				for _, r := range doc.Relationships {
					related[r.RelatedSPDXElement] = true
				}
				ids := map[string]bool{}
				for _, p := range doc.Packages {
					if ids[p.ID] || !related[p.ID] {
						t.Errorf("the identifier %s is there twice, or in no relationship", p.ID)
					}
					ids[p.ID] = true
					for _, r := range p.ExternalRefs {
						locators[r.Locator] = true
					}
				}
				if top := doc.Packages[0]; top.Checksums[0].ChecksumValue != i.descriptor.Digest.Encoded() || top.Version != testVersion {
					t.Errorf("the document is about %+v", top)
				}
				if diff := cmp.Diff(locatorsOf(t, k, i), locators); diff != "" {
					t.Errorf("components (-want +got):\n%s", diff)
				}
			})
		}
	}
}

// Fields of the description of a Debian package.
var (
	packageField = regexp.MustCompile(`(?m)^Package: (\S+)$`)
	versionField = regexp.MustCompile(`(?m)^Version: (\S+)$`)
)

// locatorsOf returns what the files of an image say that they consist of.
func locatorsOf(t *testing.T, k kind, i image) map[string]bool {
	t.Helper()
	out := map[string]bool{}
	for name, f := range i.files {
		if strings.HasPrefix(name, "var/lib/dpkg/status.d/") {
			name, version := packageField.FindSubmatch(f.Data), versionField.FindSubmatch(f.Data)
			if name == nil || version == nil {
				t.Fatalf("a package is described as %s", f.Data)
			}
			purl := fmt.Sprintf("pkg:deb/debian/%s@%s?arch=%s&distro=%s", name[1], version[1], i.config.Architecture, suite)
			out[strings.ReplaceAll(purl, "+", "%2B")] = true
		}
	}
	program, ok := i.files["fairlead-"+k.name]
	if !ok {
		return out
	}
	info, err := buildinfo.Read(bytes.NewReader(program.Data))
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range info.Deps {
		out["pkg:golang/"+m.Path+"@"+m.Version] = true
	}
	out["pkg:golang/stdlib@"+strings.TrimPrefix(info.GoVersion, "go")] = true
	return out
}

func TestProvenance(t *testing.T) {
	for _, k := range kinds {
		for arch, i := range read(t, k.name).images {
			t.Run(k.name+"/"+arch, func(t *testing.T) {
				type digests map[string]string
				var s struct {
					Type          string `json:"_type"`
					PredicateType string
					Subject       []struct{ Digest digests }
					Predicate     struct {
						BuildDefinition struct {
							ExternalParameters   map[string]string
							ResolvedDependencies []struct {
								URI    string
								Digest digests
							}
						}
						RunDetails struct{ Builder struct{ ID string } }
					}
				}
				parse(t, i.artifacts[attest.MediaTypeInToto], &s)
				if s.Type != "https://in-toto.io/Statement/v1" || s.PredicateType != "https://slsa.dev/provenance/v1" || s.Predicate.RunDetails.Builder.ID == "" {
					t.Errorf("a statement of the type %s about %s", s.Type, s.PredicateType)
				}
				if diff := cmp.Diff(digests{"sha256": i.descriptor.Digest.Encoded()}, s.Subject[0].Digest); diff != "" {
					t.Errorf("subject (-want +got):\n%s", diff)
				}
				want := map[string]string{"image": k.name, "version": testVersion, "platform": "linux/" + arch, "SOURCE_DATE_EPOCH": "1800000000"}
				if diff := cmp.Diff(want, s.Predicate.BuildDefinition.ExternalParameters); diff != "" {
					t.Errorf("parameters (-want +got):\n%s", diff)
				}
				dependencies := s.Predicate.BuildDefinition.ResolvedDependencies
				if diff := cmp.Diff(digests{"gitCommit": strings.Repeat("ab", 20)}, dependencies[0].Digest); diff != "" {
					t.Errorf("source (-want +got):\n%s", diff)
				}
				for _, d := range dependencies[1:] {
					if len(d.Digest) != 1 && !strings.HasPrefix(d.URI, "pkg:golang/stdlib@") {
						t.Errorf("%s has no digest", d.URI)
					}
				}
				if want := len(locatorsOf(t, k, i)); len(dependencies)-1 != want {
					t.Errorf("%d dependencies and not %d", len(dependencies)-1, want)
				}
			})
		}
	}
}
