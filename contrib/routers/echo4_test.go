package routers_test

import (
	"net/http"
	"time"

	"github.com/labstack/echo/v4"
	"github.com/labstack/echo/v4/middleware"

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

func echo4Ahead(name string, m echo.MiddlewareFunc, stalled int) ahead {
	return ahead{name: "echo v4 " + name, stalled: stalled, mount: func(h http.Handler) http.Handler {
		e := echo.New()
		e.Use(m)
		e.POST("/hook", echo.WrapHandler(h))
		return e
	}}
}

var echo4Transparent = []ahead{
	echo4Ahead("RequestLogger", middleware.RequestLoggerWithConfig(middleware.RequestLoggerConfig{
		LogStatus:     true,
		LogValuesFunc: func(echo.Context, middleware.RequestLoggerValues) error { return nil },
	}), http.StatusRequestTimeout),
	echo4Ahead("Recover", middleware.Recover(), http.StatusRequestTimeout),
	echo4Ahead("Gzip", middleware.Gzip(), http.StatusRequestTimeout),
	echo4Ahead("ContextTimeout", middleware.ContextTimeout(time.Minute), http.StatusRequestTimeout),
}

var echo4Limiting = []ahead{echo4Ahead("BodyLimit", middleware.BodyLimit("2M"), 0)}

var echo4Reading = []ahead{echo4Ahead("Bind", func(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		_ = c.Bind(new(map[string]any))
		return next(c)
	}
}, 0)}

var echo4Restoring = []ahead{echo4Ahead("BodyDump", middleware.BodyDump(func(echo.Context, []byte, []byte) {}), 0)}

var echo4Decoding = []ahead{echo4Ahead("Decompress", middleware.Decompress(), 0)}
