package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"flag"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"

	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/client-go/tools/clientcmd/api"
)

// A test cluster never lives as long as this.
const validity = 30 * 24 * time.Hour

// runCertificates makes the trust of a cluster: in -dir, one authority, the API server's and the nodes' own certificates, the key of
// service accounts, and a kubeconfig for each who talks to the API server. Arguments: NAME=ADDRESS per node.
func runCertificates() int {
	flags := flag.NewFlagSet("certificates", flag.ExitOnError)
	dir := flags.String("dir", "", "the folder to write to")
	server := flags.String("server", "", "the API server's address")
	service := flags.String("service", "", "the API server's address for pods")
	// With ExitOnError, a mistake ends the program here.
	_ = flags.Parse(os.Args[1:])
	if err := makeCertificates(*dir, *server, *service, flags.Args()); err != nil {
		fmt.Fprintln(os.Stderr, "certificates:", err)
		return 1
	}
	return 0
}

func makeCertificates(dir, server, service string, nodes []string) error {
	authority, err := newAuthority(dir)
	if err != nil {
		return err
	}
	if err := writeServiceAccountKeys(dir); err != nil {
		return err
	}
	names := []string{"localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc", "kubernetes.default.svc.cluster.local"}
	if err := authority.write("apiserver", subject("kube-apiserver"), names, "127.0.0.1", server, service); err != nil {
		return err
	}
	if err := authority.write("apiserver-to-kubelet", subject("apiserver", "system:masters"), nil); err != nil {
		return err
	}
	clients := map[string]pkix.Name{
		"admin":              subject("admin", "system:masters"),
		"controller-manager": subject("system:kube-controller-manager"),
		"scheduler":          subject("system:kube-scheduler"),
		"proxy":              subject("system:kube-proxy"),
	}
	for _, node := range nodes {
		name, address, found := strings.Cut(node, "=")
		if !found {
			return fmt.Errorf("a node is NAME=ADDRESS, not %q", node)
		}
		clients[name] = subject("system:node:"+name, "system:nodes")
		if err := authority.write(name, subject("system:node:"+name, "system:nodes"), []string{name}, address); err != nil {
			return err
		}
	}
	for name, who := range clients {
		if err := authority.writeKubeconfig(name, who, server); err != nil {
			return err
		}
	}
	return nil
}

func subject(name string, groups ...string) pkix.Name {
	return pkix.Name{CommonName: name, Organization: groups}
}

type authority struct {
	dir         string
	certificate *x509.Certificate
	key         *ecdsa.PrivateKey
	encoded     []byte
}

func newAuthority(dir string) (*authority, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	template := &x509.Certificate{
		SerialNumber:          big.NewInt(1),
		Subject:               subject("kubernetes"),
		NotBefore:             time.Now().Add(-time.Hour),
		NotAfter:              time.Now().Add(validity),
		IsCA:                  true,
		BasicConstraintsValid: true,
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, err
	}
	certificate, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, err
	}
	made := &authority{dir: dir, certificate: certificate, key: key, encoded: encode("CERTIFICATE", der)}
	if err := made.file("authority.crt", made.encoded); err != nil {
		return nil, err
	}
	return made, made.writeKey("authority.key", key)
}

// issue signs a certificate for a new key, for servers and clients alike.
func (a *authority) issue(who pkix.Name, names []string, addresses ...string) ([]byte, *ecdsa.PrivateKey, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	serial, err := rand.Int(rand.Reader, big.NewInt(1<<62))
	if err != nil {
		return nil, nil, err
	}
	template := &x509.Certificate{
		SerialNumber: serial,
		Subject:      who,
		NotBefore:    a.certificate.NotBefore,
		NotAfter:     a.certificate.NotAfter,
		KeyUsage:     x509.KeyUsageDigitalSignature,
		ExtKeyUsage:  []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
		DNSNames:     names,
	}
	for _, address := range addresses {
		parsed := net.ParseIP(address)
		if parsed == nil {
			return nil, nil, fmt.Errorf("%q is no address", address)
		}
		template.IPAddresses = append(template.IPAddresses, parsed)
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.certificate, key.Public(), a.key)
	return encode("CERTIFICATE", der), key, err
}

func (a *authority) write(file string, who pkix.Name, names []string, addresses ...string) error {
	certificate, key, err := a.issue(who, names, addresses...)
	if err != nil {
		return err
	}
	if err := a.file(file+".crt", certificate); err != nil {
		return err
	}
	return a.writeKey(file+".key", key)
}

func (a *authority) writeKubeconfig(name string, who pkix.Name, server string) error {
	certificate, key, err := a.issue(who, nil)
	if err != nil {
		return err
	}
	der, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		return err
	}
	config := api.NewConfig()
	config.Clusters["cluster"] = &api.Cluster{Server: "https://" + server + ":6443", CertificateAuthorityData: a.encoded}
	config.AuthInfos[name] = &api.AuthInfo{ClientCertificateData: certificate, ClientKeyData: encode("EC PRIVATE KEY", der)}
	config.Contexts[name] = &api.Context{Cluster: "cluster", AuthInfo: name}
	config.CurrentContext = name
	return clientcmd.WriteToFile(*config, filepath.Join(a.dir, name+".kubeconfig"))
}

func (a *authority) file(name string, bytes []byte) error {
	return os.WriteFile(filepath.Join(a.dir, name), bytes, 0o600)
}

func (a *authority) writeKey(name string, key *ecdsa.PrivateKey) error {
	der, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		return err
	}
	return a.file(name, encode("EC PRIVATE KEY", der))
}

// writeServiceAccountKeys makes the pair that signs and checks the tokens of service accounts.
func writeServiceAccountKeys(dir string) error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	public, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		return err
	}
	keys := &authority{dir: dir}
	if err := keys.file("service-accounts.pub", encode("PUBLIC KEY", public)); err != nil {
		return err
	}
	return keys.writeKey("service-accounts.key", key)
}

func encode(kind string, der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
}
