// Command policies says what NetworkPolicies let through, as cyclonus understands them: an implementation of their meaning that is not
// ours. It reads {"policies": [...], "traffic": [...]} and answers a list of {"ingress": ..., "egress": ...}, one per traffic.
package main

import (
	"encoding/json"
	"fmt"
	"os"

	"github.com/mattfenwick/cyclonus/pkg/matcher"
	networking "k8s.io/api/networking/v1"
)

type question struct {
	Policies []*networking.NetworkPolicy
	Traffic  []*matcher.Traffic
}

// verdict says whether the policies of the receiver, and those of the sender, let a connection through.
type verdict struct {
	Ingress bool `json:"ingress"`
	Egress  bool `json:"egress"`
}

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "policies:", err)
		os.Exit(1)
	}
}

func run() error {
	var asked question
	decoder := json.NewDecoder(os.Stdin)
	// A field that is misspelt would be a policy that says less.
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&asked); err != nil {
		return fmt.Errorf("the question is not understood: %w", err)
	}
	policies := matcher.BuildNetworkPolicies(false, asked.Policies)
	answer := make([]verdict, 0, len(asked.Traffic))
	for _, traffic := range asked.Traffic {
		allowed := policies.IsTrafficAllowed(traffic)
		answer = append(answer, verdict{Ingress: allowed.Ingress.IsAllowed(), Egress: allowed.Egress.IsAllowed()})
	}
	return json.NewEncoder(os.Stdout).Encode(answer)
}
