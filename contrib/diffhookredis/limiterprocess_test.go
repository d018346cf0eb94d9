package diffhookredis_test

func limit() {}
