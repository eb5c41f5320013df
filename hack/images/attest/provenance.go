// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package attest

import "encoding/json"

// Build is how an image was built.
type Build struct {
	// Type is the address of a page that says what the parameters mean.
	Type string
	// Builder is what ran the build.
	Builder string
	// Parameters are what a user chooses.
	Parameters map[string]string
	// Fixed are what the program chooses.
	Fixed map[string]string
	// Source is the address of the repository. Revision is the commit; it is empty if the
	// files are not those of a commit.
	Source, Revision string
}

type statement struct {
	Type          string     `json:"_type"`
	Subject       []resource `json:"subject"`
	PredicateType string     `json:"predicateType"`
	Predicate     predicate  `json:"predicate"`
}

type resource struct {
	Name   string            `json:"name,omitempty"`
	URI    string            `json:"uri,omitempty"`
	Digest map[string]string `json:"digest,omitempty"`
}

type predicate struct {
	Definition struct {
		Type         string            `json:"buildType"`
		Parameters   map[string]string `json:"externalParameters"`
		Fixed        map[string]string `json:"internalParameters"`
		Dependencies []resource        `json:"resolvedDependencies"`
	} `json:"buildDefinition"`
	Run struct {
		Builder struct {
			ID string `json:"id"`
		} `json:"builder"`
	} `json:"runDetails"`
}

// Provenance returns the statement of how an image was built. It has no times: the same
// build gives the same statement.
func Provenance(image Image, build Build) ([]byte, error) {
	s := statement{
		Type:          "https://in-toto.io/Statement/v1",
		Subject:       []resource{{Name: image.Name, Digest: map[string]string{"sha256": image.SHA256}}},
		PredicateType: "https://slsa.dev/provenance/v1",
	}
	d := &s.Predicate.Definition
	d.Type, d.Parameters, d.Fixed = build.Type, build.Parameters, build.Fixed
	source := resource{URI: "git+" + build.Source}
	if build.Revision != "" {
		source.Digest = map[string]string{"gitCommit": build.Revision}
	}
	d.Dependencies = []resource{source}
	for _, c := range image.Components {
		r := resource{Name: c.Name, URI: c.PURL}
		switch {
		case c.SHA256 != "":
			r.Digest = map[string]string{"sha256": c.SHA256}
		case c.DirHash != "":
			r.Digest = map[string]string{"dirHash": c.DirHash}
		}
		d.Dependencies = append(d.Dependencies, r)
	}
	s.Predicate.Run.Builder.ID = build.Builder
	return json.MarshalIndent(s, "", " ")
}
