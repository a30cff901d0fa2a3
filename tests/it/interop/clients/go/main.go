// Verifies a token as Go services do that discover their issuer. Prints, as JSON, its claims, or the reason for which it is refused.
//
// usage: verifier ISSUER AUDIENCE TOKEN
package main

import (
	"context"
	"encoding/json"
	"os"

	"github.com/coreos/go-oidc/v3/oidc"
)

func main() {
	issuer, audience, token := os.Args[1], os.Args[2], os.Args[3]
	printed := map[string]any{}
	ctx := context.Background()
	provider, err := oidc.NewProvider(ctx, issuer)
	if err == nil {
		var verified *oidc.IDToken
		verified, err = provider.Verifier(&oidc.Config{ClientID: audience}).Verify(ctx, token)
		if err == nil {
			err = verified.Claims(&printed)
		}
	}
	if err != nil {
		printed["refused"] = err.Error()
	}
	if err := json.NewEncoder(os.Stdout).Encode(printed); err != nil {
		panic(err)
	}
}
