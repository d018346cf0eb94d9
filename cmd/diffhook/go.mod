module github.com/diffhook/diffhook-go/cmd/diffhook

go 1.26.0

replace github.com/diffhook/diffhook-go => ../../

require (
	github.com/diffhook/diffhook-go v0.0.0-00010101000000-000000000000
	github.com/stretchr/testify v1.12.1
	golang.org/x/sys v0.50.0
	golang.org/x/term v0.48.0
)

require (
	go.yaml.in/yaml/v3 v3.0.5 // indirect
	golang.org/x/time v0.16.0 // indirect
)
