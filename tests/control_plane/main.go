// Command control_plane is a Kubernetes control plane for tests: etcd, kube-apiserver,
// kube-controller-manager or kube-scheduler, chosen by the first argument, one per process.
//
// It ends when its standard input ends, so that nothing outlives the test that started it.
package main

import (
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"
	"k8s.io/component-base/cli"
	_ "k8s.io/component-base/logs/json/register"
	_ "k8s.io/component-base/metrics/prometheus/clientgo"
	_ "k8s.io/component-base/metrics/prometheus/version"
	apiserver "k8s.io/kubernetes/cmd/kube-apiserver/app"
	controllers "k8s.io/kubernetes/cmd/kube-controller-manager/app"
	scheduler "k8s.io/kubernetes/cmd/kube-scheduler/app"
)

func main() {
	if len(os.Args) < 2 {
		fail("say which component: etcd, kube-apiserver, kube-controller-manager or kube-scheduler")
	}
	component := os.Args[1]
	os.Args = append([]string{component}, os.Args[2:]...)
	go endWithStdin()

	// Only the chosen command is built: their constructors install signal handlers, and doing that
	// twice panics.
	var command *cobra.Command
	switch component {
	case "etcd":
		if err := runEtcd(os.Args[1:]); err != nil {
			fail(err.Error())
		}
		return
	case "kube-apiserver":
		command = apiserver.NewAPIServerCommand()
	case "kube-controller-manager":
		command = controllers.NewControllerManagerCommand()
	case "kube-scheduler":
		command = scheduler.NewSchedulerCommand()
	default:
		fail(fmt.Sprintf("unknown component %q", component))
	}
	os.Exit(cli.Run(command))
}

// endWithStdin ends the process when the test that holds the other end of the pipe has gone.
func endWithStdin() {
	_, _ = io.Copy(io.Discard, os.Stdin)
	os.Exit(0)
}

func fail(why string) {
	fmt.Fprintln(os.Stderr, why)
	os.Exit(64)
}
