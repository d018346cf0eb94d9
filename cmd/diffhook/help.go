package main

import (
	"context"
	"embed"
	"fmt"
)

// command is a command of the program, with a help in help/NAME.txt.
type command struct {
	name string
	run  func(ctx context.Context, a *app, args []string) error
}

func commands() []command {
	return []command{
		{"rotate-secret", runRotateSecret},
		{"revoke-secret", runRevokeSecret},
		{"rotate-key", runRotateKey},
		{"fingerprint", runFingerprint},
	}
}

func commandNamed(name string) *command {
	for _, c := range commands() {
		if c.name == name {
			return &c
		}
	}
	return nil
}

//go:embed help/*.txt
var helpTexts embed.FS

// help prints the help of the command in args, or of the program.
func (a *app) help(args []string) error {
	name := "diffhook"
	if len(args) > 0 && commandNamed(args[0]) != nil {
		name = args[0]
	} else if len(args) > 0 {
		return usagef("help: the argument is not a command; see diffhook help")
	}
	text, err := helpTexts.ReadFile("help/" + name + ".txt")
	if err != nil {
		return err
	}
	_, err = fmt.Fprint(a.stdout, string(text))
	return err
}
