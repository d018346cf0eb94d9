package contract

import (
	"encoding/json"
	"net/http"
	"os"
	"strings"
	"testing"

	"github.com/pb33f/libopenapi"
	"github.com/pb33f/libopenapi-validator/config"
	"github.com/pb33f/libopenapi-validator/schema_validation"
	v3 "github.com/pb33f/libopenapi/datamodel/high/v3"
	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v3"

	"github.com/diffhook/diffhook-go"
	"github.com/diffhook/diffhook-go/diffhooktest"
)

// assumed lists the operations that the documentation does not describe, or not
// fully.
var assumed = []string{
	"pauseMonitor", "resumeMonitor", "triggerMonitor", "listKeys", "createKey", "deleteKey",
	"getSigningSecret", "rotateSigningSecret", "revokePreviousSigningSecret",
}

func TestDocument(t *testing.T) {
	text, err := os.ReadFile("../openapi.yaml")
	require.NoError(t, err)
	document, err := libopenapi.NewDocument(text)
	require.NoError(t, err)
	require.Equal(t, "3.1.0", document.GetVersion())
	valid, errs := schema_validation.ValidateOpenAPIDocument(document)
	require.True(t, valid, "%v", join(errs))

	// Both halves are valid too.
	for i, g := range load(t).generations {
		valid, errs := g.validator.ValidateDocument()
		require.True(t, valid, "generation %d: %v", i+1, join(errs))
	}
}

func TestOperations(t *testing.T) {
	c := load(t)
	seen := map[string]bool{}
	for path, item := range c.generations[0].model.Paths.PathItems.FromOldest() {
		for method, operation := range item.GetOperations().FromOldest() {
			id := operation.OperationId
			require.NotEmpty(t, id, "%s %s", method, path)
			require.False(t, seen[id], "%s appears twice", id)
			seen[id] = true

			want := []string{"400", "401", "429", "500", "502", "503"}
			if id != "createToken" { // the token endpoint needs no rights
				want = append(want, "403")
			}
			if strings.Contains(path, "{id}") {
				want = append(want, "404")
			}
			var successes, failures []string
			for status := range operation.Responses.Codes.FromOldest() {
				if status[0] == '2' {
					successes = append(successes, status)
				} else {
					failures = append(failures, status)
				}
			}
			require.Len(t, successes, 1, id)
			require.ElementsMatch(t, want, failures, id)
		}
	}
	require.Len(t, seen, 16)
}

// A description contains the word assumed if and only if x-assumed is set.
func TestAssumed(t *testing.T) {
	text, err := os.ReadFile("../openapi.yaml")
	require.NoError(t, err)
	var document struct {
		Paths      map[string]map[string]yaml.Node
		Tags       yaml.Node
		Webhooks   yaml.Node
		Components yaml.Node
	}
	require.NoError(t, yaml.Unmarshal(text, &document))

	var marked []string
	var check func(node *yaml.Node)
	check = func(node *yaml.Node) {
		if node.Kind == yaml.MappingNode {
			fields := map[string]*yaml.Node{}
			for i := 0; i < len(node.Content); i += 2 {
				fields[node.Content[i].Value] = node.Content[i+1]
			}
			description, mark := fields["description"], fields["x-assumed"]
			says := description != nil && strings.Contains(description.Value, "assumed")
			require.Equal(t, says, mark != nil && mark.Value == "true", "line %d", node.Line)
			if id := fields["operationId"]; id != nil && says {
				marked = append(marked, id.Value)
			}
		}
		for _, child := range node.Content {
			check(child)
		}
	}
	for _, operations := range document.Paths {
		for _, operation := range operations {
			check(&operation)
		}
	}
	for _, part := range []yaml.Node{document.Tags, document.Webhooks, document.Components} {
		check(&part)
	}
	require.ElementsMatch(t, assumed, marked)
}

// The payloads and signatures of the emulator are as documented.
func TestWebhooks(t *testing.T) {
	schemas := schema_validation.NewSchemaValidator(config.WithFormatAssertions())
	payloads := [][]byte{diffhooktest.PageChanged(), diffhooktest.PageChangedGen2()}
	for i, g := range load(t).generations {
		webhook := g.model.Webhooks.GetOrZero("pageChanged").Post
		schema := webhook.RequestBody.Content.GetOrZero("application/json").Schema.Schema()
		valid, errs := schemas.ValidateSchemaBytes(schema, payloads[i])
		require.True(t, valid, "generation %d: %v", i+1, join(errs))
		valid, _ = schemas.ValidateSchemaBytes(schema, payloads[1-i])
		require.False(t, valid, "the payload of the other generation")
		valid, errs = schemas.ValidateSchemaBytes(schema, deliveredBody(t, i+1))
		require.True(t, valid, "the body that the emulator delivers in generation %d: %v", i+1, join(errs))

		name := []string{diffhook.SignatureHeader, diffhook.SignatureHeaderGen2}[i]
		header := parameter(webhook, name)
		require.NotNil(t, header, name)
		r := diffhooktest.NewRequest("https://hooks.example.com/", diffhooktest.NewSecret(), payloads[i])
		signature, err := json.Marshal(r.Header.Get(diffhook.SignatureHeader))
		require.NoError(t, err)
		valid, errs = schemas.ValidateSchemaBytes(header.Schema.Schema(), signature)
		require.True(t, valid, "%v", join(errs))
		require.Equal(t, http.MethodPost, r.Method)
	}
}

// deliveredBody returns the body that the emulator sends for a change.
func deliveredBody(t *testing.T, generation int) []byte {
	server := diffhooktest.NewServer(t)
	server.Configure(diffhooktest.Settings{Deliver: diffhooktest.Transport(http.NotFoundHandler())})
	client := server.Client(nil)
	if generation == 2 {
		client = server.ClientGen2(nil)
	}
	monitor, err := client.Monitors.Create(t.Context(), diffhook.MonitorParams{
		URL: "https://example.com/pricing", WebhookURL: "https://hooks.example.com/", IntervalMinutes: 15,
	})
	require.NoError(t, err)
	delivery, err := server.Change(monitor.ID, nil)
	require.NoError(t, err)
	require.Equal(t, generation, delivery.Generation)
	return delivery.Body
}

func parameter(operation *v3.Operation, name string) *v3.Parameter {
	for _, p := range operation.Parameters {
		if p.Name == name {
			return p
		}
	}
	return nil
}
