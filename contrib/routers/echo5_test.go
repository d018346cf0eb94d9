package routers_test

import (
	"net/http"
	"time"

	"github.com/labstack/echo/v5"
	"github.com/labstack/echo/v5/middleware"

	"github.com/diffhook/diffhook-go"
)

var echo5Row = row{
	name: "echo v5",
	event: func(h http.Handler) http.Handler {
		e := echo.New()
		e.POST("/hook", echo.WrapHandler(h))
		return e
	},
	own: func(v *diffhook.Verifier, next http.Handler) http.Handler {
		own := func(c *echo.Context) error {
			next.ServeHTTP(c.Response(), c.Request())
			return nil
		}
		e := echo.New()
		e.POST("/hook", own, echo.WrapMiddleware(v.Handler))
		return e
	},
}

func echo5Ahead(name string, m echo.MiddlewareFunc, stalled int) ahead {
	return ahead{name: "echo v5 " + name, stalled: stalled, mount: func(h http.Handler) http.Handler {
		e := echo.New()
		e.Use(m)
		e.POST("/hook", echo.WrapHandler(h))
		return e
	}}
}

var echo5Transparent = []ahead{
	echo5Ahead("RequestLogger", middleware.RequestLoggerWithConfig(middleware.RequestLoggerConfig{
		LogStatus:     true,
		LogValuesFunc: func(*echo.Context, middleware.RequestLoggerValues) error { return nil },
	}), http.StatusRequestTimeout),
	echo5Ahead("Recover", middleware.Recover(), http.StatusRequestTimeout),
	echo5Ahead("Gzip", middleware.Gzip(), http.StatusRequestTimeout),
	echo5Ahead("ContextTimeout", middleware.ContextTimeout(time.Minute), http.StatusRequestTimeout),
}

var echo5Limiting = []ahead{echo5Ahead("BodyLimit", middleware.BodyLimit(limit), 0)}

var echo5Reading = []ahead{echo5Ahead("Bind", func(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c *echo.Context) error {
		_ = c.Bind(new(map[string]any))
		return next(c)
	}
}, 0)}

var echo5Restoring = []ahead{echo5Ahead("BodyDump", middleware.BodyDump(func(*echo.Context, []byte, []byte, error) {}), 0)}

var echo5Decoding = []ahead{echo5Ahead("Decompress", middleware.Decompress(), 0)}
