package routers_test

import (
	"bytes"
	"io"
	"net/http"

	"github.com/gin-contrib/gzip"
	"github.com/gin-gonic/gin"

	"github.com/diffhook/diffhook-go"
)

func init() { gin.SetMode(gin.TestMode) }

var ginRow = row{
	name: "gin",
	event: func(h http.Handler) http.Handler {
		r := gin.New()
		r.POST("/hook", gin.WrapH(h))
		return r
	},
	own: func(v *diffhook.Verifier, next http.Handler) http.Handler {
		own := func(c *gin.Context) { next.ServeHTTP(c.Writer, c.Request) }
		r := gin.New()
		r.POST("/hook", verifyGin(v), own)
		return r
	},
}

// verifyGin is the middleware of docs/frameworks.md.
func verifyGin(v *diffhook.Verifier) gin.HandlerFunc {
	return func(c *gin.Context) {
		verified := false
		next := http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			verified, c.Request = true, r
			c.Next()
		})
		v.Handler(next).ServeHTTP(c.Writer, c.Request)
		if !verified {
			c.Abort()
		}
	}
}

func ginAhead(name string, m gin.HandlerFunc, stalled int) ahead {
	return ahead{name: "gin " + name, stalled: stalled, mount: func(h http.Handler) http.Handler {
		r := gin.New()
		r.Use(m)
		r.POST("/hook", gin.WrapH(h))
		return r
	}}
}

// ginGzip compresses answers. The ResponseWriter of ginGzip hides the deadlines.
var ginGzip = ginAhead("gzip", gzip.Gzip(gzip.DefaultCompression), 0)

var ginTransparent = []ahead{
	ginAhead("Logger", gin.LoggerWithWriter(io.Discard), http.StatusRequestTimeout),
	ginAhead("Recovery", gin.RecoveryWithWriter(io.Discard), http.StatusRequestTimeout),
	ginGzip,
}

var ginReading = []ahead{ginAhead("ShouldBindJSON", func(c *gin.Context) { _ = c.ShouldBindJSON(new(map[string]any)) }, 0)}

var ginRestoring = []ahead{ginAhead("GetRawData and a new body", func(c *gin.Context) {
	body, _ := c.GetRawData()
	c.Request.Body = io.NopCloser(bytes.NewReader(body))
}, 0)}

var ginDecoding = []ahead{ginAhead("gzip with DefaultDecompressHandle", gzip.Gzip(gzip.DefaultCompression, gzip.WithDecompressFn(gzip.DefaultDecompressHandle)), 0)}
