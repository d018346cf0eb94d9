package main

import (
	"errors"
	"flag"
	"io"
	"time"
)

// flags reads the arguments of a command. No error repeats an argument, which may be
// a secret in the wrong place.
type flags struct {
	set     *flag.FlagSet
	env     func(string) string
	args    []string // without the flags
	takesID bool     // an argument may be a client id, of the form of an API key
	invalid error    // of the first invalid value
}

func newFlags(command string, env func(string) string) *flags {
	f := &flags{set: flag.NewFlagSet(command, flag.ContinueOnError), env: env}
	f.set.SetOutput(io.Discard) // errors of the flag package repeat arguments
	return f
}

// parse reads args: flags, before and after at most most other arguments. Credentials
// are refused, except for a client id if takesID is set.
func (f *flags) parse(args []string, most int) error {
	for _, arg := range args {
		if err := refuseSecret(arg); err != nil && !(f.takesID && isKey(arg)) {
			return err
		}
	}
	for {
		if err := f.set.Parse(args); errors.Is(err, flag.ErrHelp) {
			return errHelp
		} else if err != nil {
			return f.unknown()
		}
		if f.set.NArg() == 0 {
			break
		}
		f.args = append(f.args, f.set.Arg(0))
		args = f.set.Args()[1:]
	}
	if f.invalid != nil {
		return f.invalid
	}
	if len(f.args) > most {
		return usagef("%s takes at most %d arguments beside flags; see diffhook help %[1]s", f.set.Name(), most)
	}
	return nil
}

func (f *flags) unknown() error {
	return usagef("a flag is unknown, or a value is missing or of another kind; see diffhook help %s", f.set.Name())
}

// value adds a flag. set reads the environment variable, unless the variable is empty or
// not named, and then each value of the flag.
func (f *flags) value(name, variable string, set func(string) error) {
	read := func(source, text string) {
		if err := set(text); err != nil && f.invalid == nil {
			f.invalid = usagef("%s: %v", source, err)
		}
	}
	if variable != "" {
		if text := f.env(variable); text != "" {
			read(variable, text)
		}
	}
	f.set.Func(name, "", func(text string) error {
		if err := refuseSecret(text); err != nil {
			f.invalid = err
		}
		read("--"+name, text)
		return nil
	})
}

func (f *flags) text(name, variable string) *string {
	text := new(string)
	f.value(name, variable, func(s string) error {
		*text = s
		return nil
	})
	return text
}

var errDuration = errors.New("not a positive duration; write 90s, 10m or 18h")

func (f *flags) duration(name string) *time.Duration {
	d := new(time.Duration)
	f.value(name, "", func(s string) (err error) {
		if *d, err = time.ParseDuration(s); err != nil || *d <= 0 {
			return errDuration
		}
		return nil
	})
	return d
}

func (f *flags) bool(name string) *bool { return f.set.Bool(name, false, "") }
