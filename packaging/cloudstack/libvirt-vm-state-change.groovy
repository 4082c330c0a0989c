// CloudStack's KVM agent calls onStart with its logger and libvirt's name of a VM that it has started, and onStop.
class AccelnetHook {
    // It must not hold up the agent, and no VM fails to start for want of a VF.
    def onStart(logger, name) {
        def words = ['/usr/local/bin/accelnet-cloudstack', 'start', name as String]
        Thread.start {
            def process = words.execute()
            def said = new StringBuilder()
            process.waitForProcessOutput(said, said)
            if (process.exitValue() != 0)
                logger.warn("accelnet: ${name}: ${said}")
        }
        name
    }

    // What a VM had is given back by accelnet, which sees that it is gone.
    def onStop(logger, name) { name }
}

new AccelnetHook()
