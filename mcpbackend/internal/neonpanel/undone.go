package neonpanel

import (
	"crypto/tls"
	"errors"
	"net"
	"net/http"
)

// Undone says that the API surely did not carry out the call: it was not sent,
// or it was refused. Of every other failure that is not known.
func (e *Error) Undone() bool {
	switch {
	case e.Class == BadRequest, e.Reason == ReasonCircuitOpen:
		return true
	case e.Status == http.StatusRequestTimeout:
		return false
	case e.Status != 0:
		return e.Status >= 400 && e.Status < 500
	}
	var op *net.OpError
	if errors.As(e.cause, &op) && (op.Op == "dial" || op.Op == "proxyconnect") {
		return true
	}
	var certificate *tls.CertificateVerificationError
	return errors.As(e.cause, &certificate)
}
