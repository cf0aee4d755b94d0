package verdict

// CleanUp does at once what the cache does in the background.
func (c *Cache) CleanUp() {
	c.accepted.CleanUp()
	c.refused.CleanUp()
}
