package routers_test

import (
	"net/http"

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

// verifyGin is the middleware that docs/frameworks.md shows.
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
