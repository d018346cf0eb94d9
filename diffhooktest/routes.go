package diffhooktest

import (
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

// call is an authorized request to a handler. The handler runs while s.mu is held.
type call struct {
	server     *Server
	team       *Team
	generation int
	now        time.Time
	id         string // the {id} in the path, unescaped
	query      string
	header     http.Header
	body       []byte
}

// route is an endpoint of the API.
type route struct {
	method, path string
	input        input
	handle       func(*call) (*response, *failure)
}

// input is the part of a request that a route takes besides the path.
type input int

const (
	nothing input = iota
	limit         // a limit in the query
	body          // a JSON body
)

const tokenPath = "/api/oauth/token"

// routes returns the endpoints of the API without the token endpoint, whose rules
// differ.
func routes() []route {
	return []route{
		{"GET", "/api/monitors", limit, (*call).listMonitors},
		{"POST", "/api/monitors", body, (*call).createMonitor},
		{"GET", "/api/monitors/{id}", nothing, (*call).getMonitor},
		{"PUT", "/api/monitors/{id}", body, (*call).updateMonitor},
		{"DELETE", "/api/monitors/{id}", nothing, (*call).deleteMonitor},
		{"POST", "/api/monitors/{id}/pause", nothing, (*call).pauseMonitor},
		{"POST", "/api/monitors/{id}/resume", nothing, (*call).resumeMonitor},
		{"POST", "/api/monitors/{id}/trigger", nothing, (*call).triggerMonitor},
		{"GET", "/api/logs", limit, (*call).listLogs},
		{"GET", "/api/keys", limit, (*call).listKeys},
		{"POST", "/api/keys", body, (*call).createKey},
		{"DELETE", "/api/keys/{id}", nothing, (*call).deleteKey},
		{"GET", "/api/signing-secret", nothing, (*call).getSigningSecret},
		{"POST", "/api/signing-secret/rotate", nothing, (*call).rotateSigningSecret},
		{"DELETE", "/api/signing-secret/previous", nothing, (*call).revokePreviousSecret},
	}
}

// find returns the route of a request and the id in the path, or a failure: 404, or
// 405 with the methods of the path.
func find(all []route, method, path string) (*route, string, *failure) {
	var allow []string
	for i, r := range all {
		id, ok := matchPath(r.path, path)
		if !ok {
			continue
		}
		if r.method == method {
			return &all[i], id, nil
		}
		allow = append(allow, r.method)
	}
	if allow == nil {
		return nil, "", &failure{status: http.StatusNotFound, code: codeNotFound, message: "Not found"}
	}
	slices.Sort(allow)
	return nil, "", &failure{status: http.StatusMethodNotAllowed, code: codeMethodNotAllowed, message: "Method not allowed", allow: strings.Join(allow, ", ")}
}

// matchPath compares an escaped path with a pattern. An element in braces matches
// any element that is not empty, and is returned unescaped.
func matchPath(pattern, path string) (id string, ok bool) {
	wants, gots := strings.Split(pattern, "/"), strings.Split(path, "/")
	if len(wants) != len(gots) {
		return "", false
	}
	for i, want := range wants {
		if !strings.HasPrefix(want, "{") {
			if want != gots[i] {
				return "", false
			}
			continue
		}
		var err error
		if id, err = url.PathUnescape(gots[i]); err != nil || id == "" {
			return "", false
		}
	}
	return id, true
}

// check rejects a query, body or Content-Type that the route does not take.
func (r *route) check(c *call) *failure {
	if r.input != limit && c.query != "" {
		return invalid("The endpoint takes no query")
	}
	if r.input == body {
		return checkContentType(c.header, "application/json")
	}
	if len(c.body) == 0 || r.method == http.MethodPost && string(c.body) == "{}" {
		return nil
	}
	return invalid("The endpoint takes no body")
}

// routeName returns the method and pattern of the route of a request, or "" if no
// route matches.
func routeName(all []route, method, path string) string {
	if path == tokenPath && method == http.MethodPost {
		return "POST " + tokenPath
	}
	if r, _, failed := find(all, method, path); failed == nil {
		return r.method + " " + r.path
	}
	return ""
}

// matchRoute reports whether a request matches a pattern: a method and a path,
// either of the two, or "", which matches every request.
func matchRoute(pattern, method, path string) bool {
	wantMethod, wantPath, both := strings.Cut(pattern, " ")
	if !both && strings.HasPrefix(pattern, "/") {
		wantMethod, wantPath = "", pattern
	}
	if wantMethod != "" && wantMethod != method {
		return false
	}
	if wantPath == "" {
		return true
	}
	_, ok := matchPath(wantPath, path)
	return ok
}

// checkPattern panics if pattern cannot match any request. A query is not part of a path.
func checkPattern(pattern string) {
	method, path, both := strings.Cut(pattern, " ")
	if !both && strings.HasPrefix(pattern, "/") {
		method, path = "", pattern
	}
	methods := []string{"", http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete, http.MethodOptions}
	if !slices.Contains(methods, method) || both && path == "" || path != "" && !strings.HasPrefix(path, "/api/") || strings.ContainsAny(path, "?# ") {
		panic("diffhooktest: " + strconv.Quote(pattern) + ` is not a route; write a method, a path or both, such as "GET /api/monitors/{id}"`)
	}
}
