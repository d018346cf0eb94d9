package routers_test

import (
	"net/http"

	"github.com/labstack/echo/v4"

	"github.com/diffhook/diffhook-go"
)

var echo4Row = row{
	name: "echo v4",
	event: func(h http.Handler) http.Handler {
		e := echo.New()
		e.POST("/hook", echo.WrapHandler(h))
		return e
	},
	own: func(v *diffhook.Verifier, next http.Handler) http.Handler {
		own := func(c echo.Context) error {
			next.ServeHTTP(c.Response(), c.Request())
			return nil
		}
		e := echo.New()
		e.POST("/hook", own, echo.WrapMiddleware(v.Handler))
		return e
	},
}
