// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package kubectl

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
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
	wide   bool     // whether wide is a format, too
	tools  []string // formats that the command prints itself
}

func (o *output) add(command *cobra.Command) {
	command.Flags().StringVarP(&o.format, "output", "o", "", o.formats()+"; default: text")
	// It fails only for a flag that is not there.
	_ = command.RegisterFlagCompletionFunc("output", cobra.FixedCompletions(o.list(), cobra.ShellCompDirectiveNoFileComp))
}

func (o *output) list() []string {
	formats := append([]string{"json", "yaml"}, o.tools...)
	if o.wide {
		formats = append(formats, "wide")
	}
	return formats
}

// formats is the list, for people.
func (o *output) formats() string {
	list := o.list()
	return strings.Join(list[:len(list)-1], ", ") + " or " + list[len(list)-1]
}

// check returns an error for an unknown format.
func (o *output) check() error {
	if o.format == "" || slices.Contains(o.list(), o.format) {
		return nil
	}
	return errors.New("--output must be " + o.formats())
}

// answer writes a report as print does. It returns ErrNo unless the answer is yes.
func (o *output) answer(to io.Writer, report any, text func(io.Writer) error, yes bool) error {
	if err := o.print(to, report, text); err != nil {
		return err
	}
	if !yes {
		return ErrNo
	}
	return nil
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
		return text(colored(to))
	}
	if err == nil {
		_, err = fmt.Fprintln(to, strings.TrimRight(string(data), "\n"))
	}
	return err
}
