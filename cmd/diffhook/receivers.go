package main

import (
	"errors"
	"net/http"
	"net/netip"
	"net/url"
	"strings"

	"github.com/diffhook/diffhook-go/rotation"
)

const (
	variableReceivers     = "DIFFHOOK_RECEIVERS"
	variableReceiverToken = "DIFFHOOK_RECEIVER_TOKEN"
)

// receiverList is the value of DIFFHOOK_RECEIVERS, with spaces between receivers, or of
// each --receiver.
type receiverList struct {
	urls    map[string]string // by name
	fromEnv bool              // urls are from the environment; a flag replaces them all
}

var errReceiver = errors.New("not NAME=URL with a new name and a URL of https, or of http to this machine; write web1=https://web1.internal/diffhook/status")

// add reads NAME=URL.
func (r *receiverList) add(text string) error {
	name, address, ok := strings.Cut(text, "=")
	u, err := url.Parse(address)
	if !ok || err != nil || !isReceiverName(name) || u.Host == "" {
		return errReceiver
	}
	if u.Scheme != "https" && !(u.Scheme == "http" && isLoopback(u.Hostname())) {
		return errReceiver
	}
	if _, known := r.urls[name]; known {
		return errReceiver
	}
	if r.urls == nil {
		r.urls = map[string]string{}
	}
	r.urls[name] = address
	return nil
}

func (f *flags) receivers() *receiverList {
	r := new(receiverList)
	if text := f.env(variableReceivers); text != "" {
		for field := range strings.FieldsSeq(text) {
			if err := r.add(field); err != nil && f.invalid == nil {
				f.invalid = usagef("%s: %v", variableReceivers, err)
			}
		}
		r.fromEnv = true
	}
	f.value("receiver", "", func(text string) error {
		if r.fromEnv {
			r.urls, r.fromEnv = nil, false
		}
		return r.add(text)
	})
	return r
}

func isReceiverName(name string) bool {
	return name != "" && len(name) <= 64 && !strings.ContainsFunc(name, func(c rune) bool {
		return !('a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || strings.ContainsRune("-_.", c))
	})
}

func isLoopback(host string) bool {
	address, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && address.IsLoopback()
}

// authorizeReceiver adds the token of the receivers to a request.
func (a *app) authorizeReceiver(r *http.Request) {
	if token := a.env(variableReceiverToken); token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
}

// receivers returns the receivers in list.
func (a *app) receivers(list *receiverList) map[string]rotation.Receiver {
	receivers := make(map[string]rotation.Receiver, len(list.urls))
	for name, address := range list.urls {
		receivers[name] = &rotation.Remote{URL: address, Authorize: a.authorizeReceiver}
	}
	return receivers
}
