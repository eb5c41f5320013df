// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package kubectl

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"
	"sigs.k8s.io/yaml"
)

// ErrNo is the answer "no" of a command, which has written why. Any other error says that there is
// no answer.
var ErrNo = errors.New("the answer is no")

// output is the flag --output.
type output struct {
	format string
	wide   bool // whether wide is a format, too
}

func (o *output) add(command *cobra.Command) {
	formats, usage := []string{"json", "yaml"}, "json or yaml; default: text"
	if o.wide {
		formats, usage = append(formats, "wide"), "json, yaml or wide; default: text"
	}
	command.Flags().StringVarP(&o.format, "output", "o", "", usage)
	// It fails only for a flag that is not there.
	_ = command.RegisterFlagCompletionFunc("output", cobra.FixedCompletions(formats, cobra.ShellCompDirectiveNoFileComp))
}

// check returns an error for an unknown format.
func (o *output) check() error {
	switch {
	case o.format == "", o.format == "json", o.format == "yaml", o.wide && o.format == "wide":
		return nil
	case o.wide:
		return errors.New("--output must be json, yaml or wide")
	}
	return errors.New("--output must be json or yaml")
}

// print writes a report in the format; text does it for people.
func (o *output) print(to io.Writer, report any, text func(io.Writer) error) error {
	var data []byte
	var err error
	switch o.format {
	case "json":
		data, err = json.MarshalIndent(report, "", "  ")
	case "yaml":
		data, err = yaml.Marshal(report)
	default:
		return text(to)
	}
	if err == nil {
		_, err = fmt.Fprintln(to, strings.TrimRight(string(data), "\n"))
	}
	return err
}
