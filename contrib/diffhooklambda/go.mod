module github.com/diffhook/diffhook-go/contrib/diffhooklambda

go 1.26.0

replace github.com/diffhook/diffhook-go => ../../

require (
	github.com/aws/aws-lambda-go v1.55.1
	github.com/diffhook/diffhook-go v0.0.0-00010101000000-000000000000
	github.com/google/go-cmp v0.7.0
	github.com/stretchr/testify v1.12.1
)

require (
	go.yaml.in/yaml/v3 v3.0.5 // indirect
	golang.org/x/time v0.16.0 // indirect
)
