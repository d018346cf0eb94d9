package routers_test

import (
	"net/http"

	"github.com/julienschmidt/httprouter"

	"github.com/diffhook/diffhook-go"
)

var httprouterRow = row{
	name: "httprouter",
	event: func(h http.Handler) http.Handler {
		r := httprouter.New()
		r.Handler("POST", "/hook", h)
		return r
	},
	own: func(v *diffhook.Verifier, next http.Handler) http.Handler {
		r := httprouter.New()
		r.Handler("POST", "/hook", v.Handler(next))
		return r
	},
}
