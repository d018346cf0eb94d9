package routers_test

import (
	"net/http"

	"github.com/gorilla/mux"

	"github.com/diffhook/diffhook-go"
)

var gorillaRow = row{
	name: "gorilla/mux",
	event: func(h http.Handler) http.Handler {
		r := mux.NewRouter()
		r.Handle("/hook", h).Methods("POST")
		return r
	},
	own: func(v *diffhook.Verifier, next http.Handler) http.Handler {
		r := mux.NewRouter()
		r.Handle("/hook", v.Handler(next)).Methods("POST")
		return r
	},
}
