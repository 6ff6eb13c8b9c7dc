package config

// Update says whose updates the machine takes.
type Update struct {
	Keys []string `yaml:"keys" is:"key" unique:"true" doc:"Public halves of the keys that sign updates, as instar key new prints them; one signature of any of them is enough." example:"[instar-public-1:6lUIqjDoXIzCpEPCCQBo2DLnyFDuOBkkIW3MrJ8jT9k]"`
}
