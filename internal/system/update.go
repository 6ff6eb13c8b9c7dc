package system

// Update says whose updates a machine takes.
type Update struct {
	Keys []string `json:"keys"` // public halves, as package trust writes them
}
