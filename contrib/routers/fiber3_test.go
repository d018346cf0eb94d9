package routers_test

import (
	"bytes"
	"net/http"
	"time"

	"github.com/gofiber/fiber/v3"
	"github.com/gofiber/fiber/v3/middleware/adaptor"
	"github.com/gofiber/fiber/v3/middleware/recover"

	"github.com/diffhook/diffhook-go"
)

var fiber3 = fiberRow{
	name:    "Fiber v3",
	adapted: adaptFiber3,
	native:  receiveFiber3,
	defaults: func(h http.Handler) fiberApp {
		app := fiber.New()
		app.Use(recover.New())
		app.Post("/hook", adaptor.HTTPHandler(h))
		return app
	},
	keep: func(see func([]byte)) fiberApp {
		app := fiber.New()
		app.Post("/hook", func(c fiber.Ctx) error {
			see(c.BodyRaw())
			return c.SendStatus(fiber.StatusNoContent)
		})
		return app
	},
}

func adaptFiber3(h http.Handler) fiberApp {
	app := fiber.New(fiber.Config{BodyLimit: 8 << 20, ReadTimeout: 10 * time.Second})
	app.Use(recover.New())
	app.Post("/hook", adaptor.HTTPHandler(h))
	return app
}

func receiveFiber3(v *diffhook.Verifier, f diffhook.EventFunc) fiberApp {
	app := fiber.New(fiber.Config{BodyLimit: 8 << 20, ReadTimeout: 10 * time.Second})
	app.Use(recover.New())
	app.Post("/hook", func(c fiber.Ctx) error {
		body := bytes.Clone(c.BodyRaw()) // Fiber uses the memory again
		if err := v.VerifyHeader(c.Context(), body, c.GetReqHeaders()); err != nil {
			return c.SendStatus(diffhook.HTTPStatus(err))
		}
		e, err := diffhook.ParseEvent(body)
		if err != nil {
			return c.SendStatus(diffhook.HTTPStatus(err))
		}
		if err := f(c.Context(), e); err != nil {
			return c.SendStatus(diffhook.HTTPStatus(err))
		}
		return c.SendStatus(fiber.StatusNoContent)
	})
	return app
}
