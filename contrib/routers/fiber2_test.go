package routers_test

import (
	"bytes"
	"net/http"
	"time"

	"github.com/gofiber/fiber/v2"
	"github.com/gofiber/fiber/v2/middleware/adaptor"
	"github.com/gofiber/fiber/v2/middleware/recover"

	"github.com/diffhook/diffhook-go"
)

var fiber2 = fiberRow{
	name:    "Fiber v2",
	adapted: adaptFiber2,
	native:  receiveFiber2,
	defaults: func(h http.Handler) fiberApp {
		app := fiber.New()
		app.Use(recover.New())
		app.Post("/hook", adaptor.HTTPHandler(h))
		return app
	},
	keep: func(see func([]byte)) fiberApp {
		app := fiber.New()
		app.Post("/hook", func(c *fiber.Ctx) error {
			see(c.BodyRaw())
			return c.SendStatus(fiber.StatusNoContent)
		})
		return app
	},
}

func adaptFiber2(h http.Handler) fiberApp {
	app := fiber.New(fiber.Config{BodyLimit: 8 << 20, ReadTimeout: 10 * time.Second})
	app.Use(recover.New())
	app.Post("/hook", adaptor.HTTPHandler(h))
	return app
}

func receiveFiber2(v *diffhook.Verifier, f diffhook.EventFunc) fiberApp {
	app := fiber.New(fiber.Config{BodyLimit: 8 << 20, ReadTimeout: 10 * time.Second})
	app.Use(recover.New())
	app.Post("/hook", func(c *fiber.Ctx) error {
		body := bytes.Clone(c.BodyRaw()) // Fiber uses the memory again
		if err := v.VerifyHeader(c.UserContext(), body, c.GetReqHeaders()); err != nil {
			return c.SendStatus(diffhook.HTTPStatus(err))
		}
		e, err := diffhook.ParseEvent(body)
		if err != nil {
			return c.SendStatus(diffhook.HTTPStatus(err))
		}
		if err := f(c.UserContext(), e); err != nil {
			return c.SendStatus(diffhook.HTTPStatus(err))
		}
		return c.SendStatus(fiber.StatusNoContent)
	})
	return app
}
