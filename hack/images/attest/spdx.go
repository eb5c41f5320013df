// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

// Package attest describes an image for scanners and auditors: what it consists of (SPDX
// 2.3), and how it was built (SLSA provenance v1 in an in-toto statement v1).
package attest

import (
	"encoding/json"
	"fmt"
	"regexp"
	"time"
)

// Media types of the documents.
const (
	MediaTypeSPDX   = "application/spdx+json"
	MediaTypeInToto = "application/vnd.in-toto+json"
)

// Component is something that an image consists of.
type Component struct {
	Name, Version string
	PURL          string // https://github.com/package-url/purl-spec
	SHA256        string // of the package that was used, in hexadecimal; may be empty
	DirHash       string // of a Go module, in hexadecimal: the h1 of go.sum; may be empty
	Licence       string // an SPDX expression; may be empty
}

// Image is an image of one platform.
type Image struct {
	Name, Version string
	SHA256        string // of the manifest, in hexadecimal
	Created       time.Time
	Licence       string
	Components    []Component
}

type document struct {
	SPDXVersion   string         `json:"spdxVersion"`
	DataLicence   string         `json:"dataLicense"`
	ID            string         `json:"SPDXID"`
	Name          string         `json:"name"`
	Namespace     string         `json:"documentNamespace"`
	Creation      creation       `json:"creationInfo"`
	Packages      []spdxPackage  `json:"packages"`
	Relationships []relationship `json:"relationships"`
}

type creation struct {
	Created  string   `json:"created"`
	Creators []string `json:"creators"`
}

type spdxPackage struct {
	ID               string        `json:"SPDXID"`
	Name             string        `json:"name"`
	Version          string        `json:"versionInfo"`
	Purpose          string        `json:"primaryPackagePurpose,omitempty"`
	DownloadLocation string        `json:"downloadLocation"`
	FilesAnalyzed    bool          `json:"filesAnalyzed"`
	LicenceConcluded string        `json:"licenseConcluded"`
	LicenceDeclared  string        `json:"licenseDeclared"`
	Copyright        string        `json:"copyrightText"`
	Checksums        []checksum    `json:"checksums,omitempty"`
	References       []externalRef `json:"externalRefs,omitempty"`
}

type checksum struct {
	Algorithm string `json:"algorithm"`
	Value     string `json:"checksumValue"`
}

type externalRef struct {
	Category string `json:"referenceCategory"`
	Type     string `json:"referenceType"`
	Locator  string `json:"referenceLocator"`
}

type relationship struct {
	Element string `json:"spdxElementId"`
	Type    string `json:"relationshipType"`
	Related string `json:"relatedSpdxElement"`
}

const noAssertion = "NOASSERTION"

// notInID matches what an SPDX identifier cannot have.
var notInID = regexp.MustCompile(`[^A-Za-z0-9.-]+`)

// SPDX returns the list of an image's components. project is the project's address: the
// document's name space is below it, and is one of this image alone.
func SPDX(project string, image Image) ([]byte, error) {
	const top = "SPDXRef-Image"
	doc := document{
		SPDXVersion: "SPDX-2.3", DataLicence: "CC0-1.0", ID: "SPDXRef-DOCUMENT", Name: image.Name,
		Namespace: project + "/spdx/" + image.Name + "/sha256-" + image.SHA256,
		Creation:  creation{image.Created.UTC().Format(time.RFC3339), []string{"Tool: fairlead-images"}},
		Packages: []spdxPackage{describe(top, "CONTAINER", Component{
			Name: image.Name, Version: image.Version, SHA256: image.SHA256, Licence: image.Licence,
		})},
		Relationships: []relationship{{"SPDXRef-DOCUMENT", "DESCRIBES", top}},
	}
	for i, c := range image.Components {
		id := fmt.Sprintf("SPDXRef-%d-%s", i+1, notInID.ReplaceAllString(c.Name, "-"))
		doc.Packages = append(doc.Packages, describe(id, "", c))
		doc.Relationships = append(doc.Relationships, relationship{top, "CONTAINS", id})
	}
	return json.MarshalIndent(doc, "", " ")
}

func describe(id, purpose string, c Component) spdxPackage {
	p := spdxPackage{
		ID: id, Name: c.Name, Version: c.Version, Purpose: purpose, DownloadLocation: noAssertion,
		LicenceConcluded: noAssertion, LicenceDeclared: noAssertion, Copyright: noAssertion,
	}
	if c.Licence != "" {
		p.LicenceDeclared = c.Licence
	}
	if c.SHA256 != "" {
		p.Checksums = []checksum{{"SHA256", c.SHA256}}
	}
	if c.PURL != "" {
		p.References = []externalRef{{"PACKAGE-MANAGER", "purl", c.PURL}}
	}
	return p
}
