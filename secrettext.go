package diffhook

import (
	"encoding/json"
	"regexp"
	"strings"
	"unicode"
)

// textFault returns the problem of a text and the remedy, as a sentence without the
// subject, or "" if the text may be a secret.
//
// Anybody can guess a placeholder, and a secret in quotes signs nothing. Each check is
// precise: random texts of letters, digits and punctuation pass.
func textFault(s string) string {
	for _, fault := range textFaults {
		if fault.in(s) {
			return fault.text
		}
	}
	inner, ok := unquote(s)
	if !ok {
		return ""
	}
	if fault := textFault(inner); fault != "" {
		return fault
	}
	if isASCII(s) && !plainSecret.MatchString(inner) {
		return "" // a random text with punctuation may begin and end with a quote
	}
	return "is in quotes; remove the quotes"
}

// textFaults are tried in this order: certain faults come before likely faults.
var textFaults = []struct {
	in   func(string) bool
	text string
}{
	{isUTF16, "is in UTF-16, as from PowerShell's >; save the text as UTF-8 without a byte order mark"},
	{hasByteOrderMark, "begins with a byte order mark; save the text as UTF-8 without the mark"},
	{isPadded, "begins or ends with white space or an invisible character; trim the text"},
	{hasLineBreak, "contains several lines; pass the line with the secret alone"},
	{hasInvisible, "contains a control character or an invisible character; copy the secret again as plain text"},
	{isMasked, "is masked or cut short; show and copy the whole secret at App → Settings → API Keys"},
	{isSignature, "looks like the signature of a delivery; copy the secret from App → Settings → API Keys"},
	{errorMessage.MatchString, "looks like an error message or a page; correct the program that supplies the secret"},
	{isObject, "looks like a JSON object; pass the value of the field alone"},
	{isReference, "looks like an unexpanded reference, such as ${NAME}; expand the reference before the program starts"},
	{encrypted.MatchString, "looks like an encrypted text; decrypt the text before the program starts"},
	{address.MatchString, "looks like the address of a secret, such as arn:…, op://… or a URL; read the secret from there and pass the text"},
	{filePath.MatchString, "looks like the path of a file; pass the content, or use FileSecrets for a signing secret"},
	{isAssignment, "looks like a line NAME=value; pass the value alone"},
	{isVariableName, "is the name of a variable; pass the value of the variable"},
	{hasVariable, "contains a reference to a variable; pass the text with the value of the variable"},
	{isPlaceholder, "looks like a placeholder; copy the secret from App → Settings → API Keys"},
}

func isUTF16(s string) bool {
	return strings.HasPrefix(s, "\xff\xfe") || strings.HasPrefix(s, "\xfe\xff") || strings.Contains(s, "\x00")
}

func hasByteOrderMark(s string) bool { return strings.HasPrefix(s, "\uFEFF") }

func isPadded(s string) bool { return strings.TrimFunc(s, isInvisible) != s }

func hasLineBreak(s string) bool { return strings.ContainsAny(s, "\n\r\v\f\u0085\u2028\u2029") }

func hasInvisible(s string) bool {
	return strings.ContainsFunc(s, func(r rune) bool { return r != ' ' && (isInvisible(r) || unicode.IsControl(r)) })
}

// isInvisible reports whether r is white space, or a format character such as a byte
// order mark or a zero-width space.
func isInvisible(r rune) bool { return unicode.IsSpace(r) || unicode.Is(unicode.Cf, r) }

// maskedText matches groups of x or *, perhaps after a prefix in lower case.
var maskedText = regexp.MustCompile(`^(?:[a-z]+_)*(?:[xX]{4,}|\*{4,})(?:[ _.-]?(?:[xX]{4,}|\*{4,}))+$`)

// isMasked reports whether s shows the marks of a shortened or hidden text, or repeats
// a single character.
func isMasked(s string) bool {
	for _, mark := range [...]string{"…", "••", "●●", "******"} {
		if strings.Contains(s, mark) {
			return true
		}
	}
	if maskedText.MatchString(s) {
		return true
	}
	return s != "" && strings.Trim(s, s[:1]) == "" && strings.Contains("xX0.-_#*?", s[:1])
}

// signatureText matches signatures of DiffHook and of Standard Webhooks. 64 hex digits
// alone may be a secret.
var signatureText = regexp.MustCompile(`(?i:\bsha(1|256|512)=[0-9a-f]{40})|^v1a?,[\w+/=-]+$|^t=\d+,v\d=`)

func isSignature(s string) bool { return signatureText.MatchString(s) }

// errorMessage matches the output of a command that should have fetched the secret: a
// page, the text of an HTTP status, or an error of a shell.
var errorMessage = regexp.MustCompile(`^(?i:<(?:!doctype|html|\?xml)\b` +
	`|(?:(?:HTTP/[\d.]+ )?[45]\d\d )?(?:unauthorized|forbidden|(?:page )?not found|internal server error|bad gateway|service unavailable|gateway timeout|too many requests)$` +
	`|.*: (?:no such file or directory|command not found|permission denied)$)`)

// objectStart matches the beginning of an object in JSON or a similar format: a brace
// and the name of the first field.
var objectStart = regexp.MustCompile(`^\{\s*("[\w. -]+"|'[\w. -]+')\s*[:=]|^\{\s*[A-Za-z_]\w*: `)

func isObject(s string) bool {
	return objectStart.MatchString(s) || strings.HasPrefix(s, "[") && json.Valid([]byte(s))
}

// words match a text by a person: words in a single case or with a capital, separators
// between the words, and a few digits after a word.
const words = `(?:[A-Z]?[a-z]+|[A-Z]+)\d{0,3}(?:[ ._:,'/-]+(?:[A-Z]?[a-z]+|[A-Z]+|\d{1,2}\b)\d{0,3})*[.!?]?`

// references match complete texts. Long delimiters such as {{ and }} suffice. Short
// delimiters such as < and > need words between them.
var references = regexp.MustCompile(`^(?:` + strings.Join([]string{
	`[$#@]+\{\s*[A-Za-z_][\w.-]*\s*\}#?`,            // ${NAME}, #{NAME}
	`[$#@]+\{\s*[A-Za-z_][\w.-]+[:?+/[(| ].*\}#?`,   // ${NAME:-default}, ${lookup("name")}
	`\$\(+\s*<?\s*[A-Za-z_/~][\w./~-]*(?:\s.*)?\)+`, // $(NAME), $(cat file), $(</run/secrets/name)
	`\$+(?:env:|[{(])?` + words,                     // $NAME, $env:NAME, ${NAME without the }
	`%` + words + `%`, `%\([\w.-]+\)s`,              // %NAME%, %(NAME)s
	`\$?\{\{.*\}\}`, `<%.*%>`, `\[\[.*\]\]`, // {{ .Values.name }}, ${{ secrets.NAME }}
	`!(?:Ref|Sub|GetAtt|ImportValue|Join|vault|reference|secret)\b.*`, // tags of YAML
	`__` + words + `__`, `@+` + words + `@+`,
	`<` + words + `>`, `\[` + words + `\]`, `\{` + words + `\}`, `\(` + words + `\)`,
}, "|") + `)$`)

func isReference(s string) bool { return references.MatchString(s) }

var (
	encrypted = regexp.MustCompile(`^(?:ENC[\[(]|\{cipher\}|\$ANSIBLE_VAULT|-----BEGIN )`)
	address   = regexp.MustCompile(`^(?:[a-z][a-z0-9+-]{3,}|op|env|ssm|kv|sm|gs|s3|gcp|bws)://` +
		`|^(?:arn|vault|secrets?|secretsmanager|keyvault|env|file|ssm|sops|kms|keyring|valueFrom):` +
		`|^(?i:@microsoft\.keyvault\()|^projects/[^/]+/secrets/|^(?:secret|kv)/data/`)
	filePath = regexp.MustCompile(`^/(?:app|dev|etc|home|mnt|opt|proc|root|run|secrets|srv|tmp|usr|var)/`)
)

var (
	assignment = regexp.MustCompile(`^(export |setx? |env |ENV |declare -x |-e |--?|\$env:)?["']?([A-Za-z_][\w.-]*)["']?\s*[=:]=?>?\s*(.*)$`)

	// appLabel matches a text copied with the label in the app.
	appLabel = regexp.MustCompile(`^(?i:signing secret)[ :=]`)

	// variableName is an ordinary name of a variable, in capitals.
	variableName = regexp.MustCompile(`^[A-Z]+(?:_[A-Z]+)+$`)

	// credentialName matches names of credentials. A short name must be a whole word.
	credentialName = regexp.MustCompile(`(?i:secret|signing|webhook|diffhook|password|(?:^|[_.-])(?:key|token|hook|hmac)(?:$|[_.-]))`)
)

// isAssignment reports whether s is a name or a label with a value. A name without a value must be
// in capitals: base64 may end in =.
func isAssignment(s string) bool {
	m := assignment.FindStringSubmatch(s)
	if m == nil {
		return appLabel.MatchString(s)
	}
	prefix, name, value := m[1], m[2], strings.Trim(m[3], "= ")
	switch {
	case variableName.MatchString(name) && len(name) >= 12:
		return true
	case value == "":
		return false
	}
	return credentialName.MatchString(name) || len(prefix) > 3
}

// variableNames are the results of letters for the names of the library's variables.
var variableNames = func() map[string]bool {
	names := make(map[string]bool)
	for _, name := range [...]string{envSecret, envPrevious, envPreviousExpires, envAPIKey, envClientID, envClientSecret} {
		names[letters(name)] = true
	}
	return names
}()

// isVariableName reports whether s is the name of a variable of the library in any
// spelling, or the name of a credential in capitals.
func isVariableName(s string) bool {
	return variableNames[letters(s)] || variableName.MatchString(s) && credentialName.MatchString(s)
}

// variableUse matches a variable of the library within a text, and a reference to a
// variable with a long name in capitals. Anybody with the code or the configuration
// knows the text.
var variableUse = regexp.MustCompile(`DIFFHOOK_(?:SIGNING_SECRET|API_KEY|CLIENT_ID|CLIENT_SECRET)|[$#%]\{[A-Z][A-Z0-9_]{5,}\}|\{\{ ?[A-Z][A-Z0-9_]{5,} ?\}\}`)

// hasVariable reports whether s contains a reference to a variable, such as
// whsec_${HOOK_SECRET} or os.environ["DIFFHOOK_SIGNING_SECRET"].
func hasVariable(s string) bool { return variableUse.MatchString(s) }

// letters returns s in lower case, without separators of words.
func letters(s string) string {
	return strings.Map(func(r rune) rune {
		if strings.ContainsRune("_-. ", r) {
			return -1
		}
		return unicode.ToLower(r)
	}, s)
}

var (
	changeMe  = regexp.MustCompile(`^(?i:changeme|replaceme)`)
	onlyWords = regexp.MustCompile(`^` + words + `$`)
	oneWord   = regexp.MustCompile(`[A-Z]?[a-z]+|[A-Z]+`)
	camelCase = regexp.MustCompile(`^[A-Za-z]?[a-z]{2,}(?:[A-Z][a-z]+)+$`)

	// placeholderWord matches the first word of a request for a secret, such as insert,
	// and secretWord the object. A text of secret words alone is a name.
	placeholderWord = regexp.MustCompile(`^(?i:your|my|change|replace|insert|enter|put|paste|set|add|todo|fixme|placeholder|redacted)$`)
	secretWord      = regexp.MustCompile(`^(?i:diffhook|webhook|signing|signature|secret|secrets|key|token|password|value|me|this|here|current|previous)$`)
)

// isPlaceholder reports whether s is a text such as your-signing-secret,
// changeme-changeme or webhook_signing_secret.
func isPlaceholder(s string) bool {
	if changeMe.MatchString(s) {
		return true
	}
	if strings.ContainsAny(s, "0123456789") || !onlyWords.MatchString(s) && !camelCase.MatchString(s) {
		return false
	}
	all, secrets := oneWord.FindAllString(s, -1), 0
	for _, word := range all {
		if secretWord.MatchString(word) {
			secrets++
		}
	}
	return placeholderWord.MatchString(all[0]) && secrets > 0 || len(all) > 1 && secrets == len(all)
}

// plainSecret matches the usual secrets: hex, base64, and names with a random part.
var plainSecret = regexp.MustCompile(`^[\w+/-]{16,}=*$`)

// unquote returns s without a pair of quotes around it.
func unquote(s string) (string, bool) {
	for _, pair := range [...][2]string{{`"`, `"`}, {`'`, `'`}, {"`", "`"}, {`\"`, `\"`}, {`\'`, `\'`}, {"“", "”"}, {"„", "“"}, {"‘", "’"}, {"«", "»"}} {
		if inner, ok := strings.CutPrefix(s, pair[0]); ok {
			if inner, ok = strings.CutSuffix(inner, pair[1]); ok {
				return inner, true
			}
		}
	}
	return s, false
}

func isASCII(s string) bool {
	return strings.IndexFunc(s, func(r rune) bool { return r > unicode.MaxASCII }) < 0
}
