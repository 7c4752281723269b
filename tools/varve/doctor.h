// Looks for the usual problems of a store, a mount and a system, and names the
// command that solves each. The output is fit for a bug report: it names no
// file, directory or host. The store and the directory that the user named
// appear as STORE and DIR.
//
// Thread-safe: free functions without state, and values.

#ifndef VARVE_TOOLS_VARVE_DOCTOR_H_
#define VARVE_TOOLS_VARVE_DOCTOR_H_

#include <string>
#include <utility>
#include <vector>

namespace varve::tools {

struct Finding {
  enum class Level {
    kOk,
    kNote,     // good to know, and not a problem by itself
    kTrouble,  // needs to be solved
  };
  Level level = Level::kOk;
  std::string check;  // what was examined; scripts rely on these names
  std::string text;
  std::string mend;  // the command, or what to do
};

class Findings {
 public:
  void Ok(std::string check, std::string text) {
    Add({Finding::Level::kOk, std::move(check), std::move(text), ""});
  }
  void Note(std::string check, std::string text, std::string mend = "") {
    Add({Finding::Level::kNote, std::move(check), std::move(text),
         std::move(mend)});
  }
  void Trouble(std::string check, std::string text, std::string mend) {
    Add({Finding::Level::kTrouble, std::move(check), std::move(text),
         std::move(mend)});
  }

  const std::vector<Finding>& list() const { return list_; }
  bool has_trouble() const {
    for (const Finding& finding : list_) {
      if (finding.level == Finding::Level::kTrouble) return true;
    }
    return false;
  }

 private:
  void Add(Finding finding) { list_.push_back(std::move(finding)); }

  std::vector<Finding> list_;
};

// Examines whether this system can mount: /dev/fuse, fusermount3,
// /etc/fuse.conf, the kernel.
void ExamineSystem(Findings& findings);

// Examines a store, which need not exist. Changes nothing.
void ExamineStore(const std::string& path, Findings& findings);

// Examines a directory where a store should be mounted. Waits some seconds for
// the daemon's answers; forks.
void ExamineMount(const std::string& path, Findings& findings);

// The message without names of files: replaces each of `names` by
// `placeholder`. If the message still contains a name, returns a text that
// refers to the command itself.
std::string WithoutNames(std::string message,
                         const std::vector<std::string>& names,
                         const std::string& placeholder);

}  // namespace varve::tools

#endif  // VARVE_TOOLS_VARVE_DOCTOR_H_
