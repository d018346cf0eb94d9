package routers_test

import (
	"io"
	"log"
	"net/http"
	"time"

	"github.com/go-chi/chi/v5"
	"github.com/go-chi/chi/v5/middleware"

	"github.com/diffhook/diffhook-go"
)

var chiRow = row{
	name: "chi",
	event: func(h http.Handler) http.Handler {
		r := chi.NewRouter()
		r.Method("POST", "/hook", h)
		return r
	},
	own: func(v *diffhook.Verifier, next http.Handler) http.Handler {
		r := chi.NewRouter()
		r.With(v.Handler).Method("POST", "/hook", next)
		return r
	},
}

func chiAhead(name string, m func(http.Handler) http.Handler, stalled int) ahead {
	return ahead{name: "chi " + name, stalled: stalled, mount: func(h http.Handler) http.Handler {
		r := chi.NewRouter()
		r.Use(m)
		r.Method("POST", "/hook", h)
		return r
	}}
}

var chiTransparent = []ahead{
	chiAhead("RequestLogger", middleware.RequestLogger(&middleware.DefaultLogFormatter{Logger: log.New(io.Discard, "", 0)}), http.StatusRequestTimeout),
	chiAhead("Recoverer", middleware.Recoverer, http.StatusRequestTimeout),
	chiAhead("Compress", middleware.Compress(5), http.StatusRequestTimeout),
	chiAhead("Timeout", middleware.Timeout(time.Minute), http.StatusRequestTimeout),
}

var chiLimiting = []ahead{chiAhead("RequestSize", middleware.RequestSize(limit), 0)}
